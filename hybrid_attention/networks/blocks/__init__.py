"""Blocks that the networks are composed of."""

from hybrid_attention.networks.blocks.attention import CBAM, ChannelGate, NonLocal, ObjectContext, SpatialGate
from hybrid_attention.networks.blocks.convolutions import conv_group_norm, conv_norm_act, conv_relu, depthwise_separable
from hybrid_attention.networks.blocks.sfeb import SFEB
from hybrid_attention.networks.blocks.tam import GSA, TAM, TSA, AxialPositionEmbedding
