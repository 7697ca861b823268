"""Networks to compare with, selected by overriding a bundle's network.

    --network_def "{'_target_': 'hybrid_attention.networks.baselines.segresnet'}"

The classes are systems that the four papers compare with, built here from their authors' descriptions; the functions
build networks of MONAI and of nnU-Net's authors. All accept any image size, return logits, name a default layer for
Grad-CAM, and are initialised at random, for a fair comparison. Bundles of grey images also need `'in_channels': 1`.
`MTDUNet` and `MultiTaskUNet` are for the bundle `mtl_oca`, or within `LesionLogit`; in training `BGRAGSA`, `EHFormer`
and `unet_plus_plus` with deep supervision return a list, for the loss that their docstring names.

segmentation-models-pytorch is not included: it needs torchvision, whose published build can't be loaded with a CPU
build of torch. `flexible_unet` has U-Nets on the same encoders.
"""

from hybrid_attention.networks.baselines.aau_net import AAUNet
from hybrid_attention.networks.baselines.bgra_gsa import BGRAGSA
from hybrid_attention.networks.baselines.eh_former import EHFormer, EHFormerCoarse
from hybrid_attention.networks.baselines.library import (
    attention_unet,
    basic_unet,
    flexible_unet,
    nnunet,
    nnunet_residual,
    residual_unet,
    segresnet,
    swin_unetr,
    unet_plus_plus,
)
from hybrid_attention.networks.baselines.mt_dunet import MTDUNet
from hybrid_attention.networks.baselines.swin_unet import SwinUNet
from hybrid_attention.networks.baselines.unet import MultiTaskUNet, PlainUNet

__all__ = [
    "BGRAGSA",
    "AAUNet",
    "EHFormer",
    "EHFormerCoarse",
    "MTDUNet",
    "MultiTaskUNet",
    "PlainUNet",
    "SwinUNet",
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
