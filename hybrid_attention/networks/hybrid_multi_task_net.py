"""HAN with a class head, which can recognise images without a lesion."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from hybrid_attention.networks.blocks.convolutions import check_input
from hybrid_attention.networks.blocks.multi_task_heads import class_head
from hybrid_attention.networks.hybrid_attention_net import BOTTLENECK_CHANNELS, HybridAttentionNet
from hybrid_attention.networks.multi_task_output import MultiTaskOutput
from hybrid_attention.networks.weights import mismatch
from torch import nn


class HybridMultiTaskNet(nn.Module):
    """Segment with the hybrid attention network, and classify from its bottleneck.

    The paper excludes images without a lesion, and a network trained on lesions alone often predicts one in normal
    images. In the `mtl_oca` bundle it can replace the network. With three channels, two regions and three classes it
    has 15,559,877 trainable parameters.

    Args:
        spatial_dims: number of spatial dimensions, 2 or 3.
        in_channels: number of input channels.
        num_classes: number of classes of the image, or None for no class head.
        num_regions: number of regions of the mask, the background included.
        options: further arguments of `HybridAttentionNet`.

    Shape:
        - input: (batch, in_channels, *spatial), as `HybridAttentionNet` takes it
        - output: `MultiTaskOutput`: mask (batch, num_regions, *spatial), coarse_mask None, class_logits
          (batch, num_classes) or None; all of them logits

    Raises:
        ValueError: an argument or the input is invalid.
    """

    gradcam_layer = "network.bottleneck"  # what both tasks see

    def __init__(
        self,
        spatial_dims: int = 2,
        in_channels: int = 3,
        num_classes: int | None = 3,
        num_regions: int = 2,
        **options: Any,
    ) -> None:
        super().__init__()
        if num_regions < 2:
            raise ValueError(f"num_regions must be at least 2 (background and lesion), got {num_regions}")
        self.network = HybridAttentionNet(spatial_dims, in_channels, num_regions, **options)
        self.classifier = class_head(spatial_dims, BOTTLENECK_CHANNELS, num_classes)

    @torch.no_grad()
    def start_from_masks(self, weights: Mapping[str, torch.Tensor]) -> None:
        """Load the weights of a HAN trained for masks on grey images, so that the lesion logit is its logit.

        HAN has the grey image in each of its channels; here the first channel is the grey image. Further channels and
        regions start with zero weights, so that they do not change the lesion logit.

        Args:
            weights: state dict of a `HybridAttentionNet` with one output channel and the same options.

        Raises:
            ValueError: the weights are those of another network; the message names the first that differ.
        """
        stem, head = "encoder.stages.0.conv0.weight", "head"
        own = self.network.state_dict()
        adapted = dict(weights)
        if stem in weights and weights[stem][:, :1].shape == own[stem][:, :1].shape:
            adapted[stem] = torch.zeros_like(own[stem])
            adapted[stem][:, 0] = weights[stem].float().sum(dim=1)
        for name in (f"{head}.weight", f"{head}.bias"):
            if name in weights and weights[name].shape == own[name][:1].shape:
                adapted[name] = torch.zeros_like(own[name])
                adapted[name][1] = weights[name][0]
        fault = mismatch(own, adapted)
        if fault:
            raise ValueError(f"the weights are not those of a HAN for masks with the same options: {fault}")
        self.network.load_state_dict(adapted)

    def forward(self, x: torch.Tensor) -> MultiTaskOutput:
        """Return the logits of the mask and of the classes."""
        check_input(x, self.network.spatial_dims, self.network.in_channels, self.network.encoder.stride)
        features = self.network.encoder(x)
        y = self.network.bottleneck(features[-1])
        mask = self.network.decode(x, features, y)
        return MultiTaskOutput(mask=mask, coarse_mask=None, class_logits=self.classifier(y))
