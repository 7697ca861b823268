"""Networks to compare with, from their authors' or MONAI's code, selected by overriding a bundle's network.

    --network_def "{'_target_': 'hybrid_attention.networks.baselines.segresnet'}"

All accept any image size, return logits, and name a default layer for Grad-CAM. All are initialised at random, for a
fair comparison. Bundles of grey images also need `'in_channels': 1`.

segmentation-models-pytorch is not included: it needs torchvision, whose published build can't be loaded with a CPU
build of torch. `flexible_unet` has U-Nets on the same encoders.
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
