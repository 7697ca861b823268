"""Networks of others to compare with, each from its authors' or MONAI's code, by one override of a bundle's network.

    --network_def "{'_target_': 'hybrid_attention.networks.baselines.segresnet'}"

All take any image size, return logits, and name the layer that Grad-CAM explains. Each starts at random: none has
pretrained weights that others lack. A bundle of grey images needs `'in_channels': 1` besides.

segmentation-models-pytorch is left out: it needs torchvision, whose build on PyPI doesn't load beside a CPU build of
torch. `flexible_unet` has U-Nets on the same encoders.
"""

from hybrid_attention.networks.baselines.monai import (
    attention_unet,
    basic_unet,
    flexible_unet,
    residual_unet,
    segresnet,
    swin_unetr,
    unet_plus_plus,
)
from hybrid_attention.networks.baselines.nnunet import nnunet, nnunet_residual

__all__ = [
    "attention_unet",
    "basic_unet",
    "flexible_unet",
    "nnunet",
    "nnunet_residual",
    "residual_unet",
    "segresnet",
    "swin_unetr",
    "unet_plus_plus",
]
