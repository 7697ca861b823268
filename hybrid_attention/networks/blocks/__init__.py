"""Blocks of the networks: one idea a file."""

from hybrid_attention.networks.blocks.convolutions import conv_norm_act, conv_relu
from hybrid_attention.networks.blocks.sfeb import SFEB
from hybrid_attention.networks.blocks.tam import GSA, TAM, TSA, AxialPositionEmbedding

__all__ = ["GSA", "SFEB", "TAM", "TSA", "AxialPositionEmbedding", "conv_norm_act", "conv_relu"]
