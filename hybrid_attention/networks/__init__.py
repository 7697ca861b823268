"""Networks: one file per bundle, named as the bundle, and the encoders and blocks that they are composed of.

Everywhere `spatial_dims` is 2 or 3; `in_channels` and `out_channels` are numbers of channels of input and output.
"""

from hybrid_attention.networks.attention_unet import DeepAttentionUNet
from hybrid_attention.networks.baselines.unet import MultiTaskUNet, PlainUNet
from hybrid_attention.networks.blocks.convolutions import with_group_norm
from hybrid_attention.networks.deep_supervision import DeepSupervision
from hybrid_attention.networks.encoders import (
    DenseNet121Encoder,
    EfficientNetB0Encoder,
    EfficientNetLiteEncoder,
    ResNet18Encoder,
)
from hybrid_attention.networks.explainable import TripleEncoderModel, TripleEncoderUNet, triple_encoder_model
from hybrid_attention.networks.hybrid import HybridAttentionNet, HybridMultiTaskNet
from hybrid_attention.networks.hybrid_lite import HybridLiteNet
from hybrid_attention.networks.mtl_oca import MultiTaskOCANet
from hybrid_attention.networks.multi_task import (
    AsMultiTask,
    LesionLogit,
    MaskAndClasses,
    MultiTaskOutput,
    PooledClassifier,
    lesion_logit,
)
from hybrid_attention.networks.pretrained import (
    DENSENET121,
    EFFICIENTNET_B0,
    RESNET18,
    PublishedWeights,
    load_encoder_weights,
)
