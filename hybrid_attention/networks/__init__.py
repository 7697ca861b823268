"""Networks, one file a paper, and the encoders and blocks that they are composed of."""

from hybrid_attention.networks.deep_attention_unet import DeepAttentionUNet
from hybrid_attention.networks.efficientnet_lite import EfficientNetLiteEncoder
from hybrid_attention.networks.encoders import DenseNet121Encoder, EfficientNetB0Encoder, ResNet18Encoder
from hybrid_attention.networks.hybrid_attention_net import HybridAttentionNet
from hybrid_attention.networks.hybrid_lite_net import HybridLiteNet
from hybrid_attention.networks.hybrid_multi_task_net import HybridMultiTaskNet
from hybrid_attention.networks.multi_task_oca_net import MultiTaskOCANet
from hybrid_attention.networks.multi_task_output import (
    AsMultiTask,
    LesionLogit,
    MaskAndClasses,
    MultiTaskOutput,
    lesion_logit,
)
from hybrid_attention.networks.multi_task_unet import MultiTaskUNet
from hybrid_attention.networks.plain_unet import PlainUNet
from hybrid_attention.networks.triple_encoder_unet import TripleEncoderModel, TripleEncoderUNet, triple_encoder_model
from hybrid_attention.networks.weights import (
    DENSENET121,
    EFFICIENTNET_B0,
    RESNET18,
    PublishedWeights,
    load_encoder_weights,
)
from hybrid_attention.networks.wrappers import DeepSupervision, with_group_norm

__all__ = [
    "DENSENET121",
    "EFFICIENTNET_B0",
    "RESNET18",
    "AsMultiTask",
    "DeepAttentionUNet",
    "DeepSupervision",
    "DenseNet121Encoder",
    "EfficientNetB0Encoder",
    "EfficientNetLiteEncoder",
    "HybridAttentionNet",
    "HybridLiteNet",
    "HybridMultiTaskNet",
    "LesionLogit",
    "MaskAndClasses",
    "MultiTaskOCANet",
    "MultiTaskOutput",
    "MultiTaskUNet",
    "PlainUNet",
    "PublishedWeights",
    "ResNet18Encoder",
    "TripleEncoderModel",
    "TripleEncoderUNet",
    "lesion_logit",
    "load_encoder_weights",
    "triple_encoder_model",
    "with_group_norm",
]
