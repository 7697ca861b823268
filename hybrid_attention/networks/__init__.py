"""Networks, one file a paper, and the encoders and blocks that they are composed of."""

from hybrid_attention.networks.encoders import DenseNet121Encoder
from hybrid_attention.networks.hybrid_attention_net import HybridAttentionNet
from hybrid_attention.networks.plain_unet import PlainUNet
from hybrid_attention.networks.weights import DENSENET121, PublishedWeights, load_encoder_weights

__all__ = [
    "DENSENET121",
    "DenseNet121Encoder",
    "HybridAttentionNet",
    "PlainUNet",
    "PublishedWeights",
    "load_encoder_weights",
]
