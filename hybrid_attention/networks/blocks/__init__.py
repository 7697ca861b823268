"""Blocks that the networks are composed of."""

from hybrid_attention.networks.blocks.cbam import CBAM, ChannelGate, SpatialGate
from hybrid_attention.networks.blocks.convolutions import conv_group_norm, conv_norm_act, conv_relu, depthwise_separable
from hybrid_attention.networks.blocks.multi_task_heads import PooledClassifier
from hybrid_attention.networks.blocks.non_local import NonLocal
from hybrid_attention.networks.blocks.object_context import ObjectContext
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
    "ObjectContext",
    "PooledClassifier",
    "SpatialGate",
    "conv_group_norm",
    "conv_norm_act",
    "conv_relu",
    "depthwise_separable",
]
