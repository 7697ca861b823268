"""Blocks of the networks: one idea a file."""

from hybrid_attention.networks.blocks.cbam import CBAM, ChannelGate, SpatialGate
from hybrid_attention.networks.blocks.convolutions import conv_norm_act, conv_relu
from hybrid_attention.networks.blocks.depthwise_separable import depthwise_separable
from hybrid_attention.networks.blocks.non_local import NonLocal
from hybrid_attention.networks.blocks.sfeb import SFEB
from hybrid_attention.networks.blocks.tam import GSA, TAM, TSA, AxialPositionEmbedding

__all__ = [
    "CBAM",
    "GSA",
    "SFEB",
    "TAM",
    "TSA",
    "AxialPositionEmbedding",
    "ChannelGate",
    "NonLocal",
    "SpatialGate",
    "conv_norm_act",
    "conv_relu",
    "depthwise_separable",
]
