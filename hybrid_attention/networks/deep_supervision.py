"""Deep supervision of any network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from monai.networks.layers import Conv
from torch import nn


class DeepSupervision(nn.Module):
    """Add a 1x1 convolution on inner feature maps, and return their logits after the network's own.

    Use it for training only; validation, saved weights and inference use only the network. In a config it is the
    trainer's network, with `monai.losses.DeepSupervisionLoss` around the loss.

    Reference:
        C.-Y. Lee, S. Xie, P. Gallagher, Z. Zhang, Z. Tu, "Deeply-Supervised Nets", AISTATS 2015, arXiv:1409.5185.

    Args:
        network: returns one tensor, (batch, out_channels, *spatial).
        layers: channels of the feature maps by the name of the module that returns them, from fine to coarse.
        out_channels: of the network.

    Shape:
        - input: as the network
        - output: list of (batch, out_channels, *spatial): the network's own logits, then one for each layer at its size
    """

    def __init__(
        self, network: nn.Module, layers: Mapping[str, int], out_channels: int = 1, spatial_dims: int = 2
    ) -> None:
        super().__init__()
        if not layers:
            raise ValueError("layers must name one feature map or more")
        self.network = network
        self.heads = nn.ModuleList(
            [Conv[Conv.CONV, spatial_dims](channels, out_channels, kernel_size=1) for channels in layers.values()]
        )
        for parameter in self.heads.parameters():
            nn.init.zeros_(parameter)  # logits start at 0, whatever the features
        self._features: dict[str, torch.Tensor] = {}
        self._layers = tuple(layers)
        for name in layers:
            network.get_submodule(name).register_forward_hook(self._keeper(name))

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Return the network's logits and those of the layers."""
        outputs = [self.network(x)]
        outputs += [head(self._features[name]) for name, head in zip(self._layers, self.heads, strict=True)]
        self._features.clear()
        return outputs

    def _keeper(self, name: str) -> Any:
        def keep(module: nn.Module, inputs: Any, output: torch.Tensor) -> None:
            if self.training:
                self._features[name] = output

        return keep
