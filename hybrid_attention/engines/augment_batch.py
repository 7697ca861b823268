"""Augmentation of whole batches, on the device where the network runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from monai.utils import CommonKeys


class AugmentBatch:
    """Augment a batch and hand it to MONAI's trainer, as its `prepare_batch`.

    Each image of the batch draws its own parameters. The first channel is augmented and repeated, since the grey image
    of ultrasound stands in all of them. Randomness is torch's, which `EpochSeed` seeds, so a resumed run repeats what
    the uninterrupted one would have drawn.

    Args:
        geometric: augmentations of kornia that move pixels; the mask moves along, by nearest neighbour.
        intensity: augmentations of grey values, modules that take and return (B, 1, W, H) with values from 0 to 1.

    Shape:
        - `image`: (B, C, W, H), all C channels alike
        - `label`: (B, 1, W, H)
        - output: the same two, on the device
    """

    def __init__(
        self,
        geometric: Sequence[torch.nn.Module] = (),
        intensity: Sequence[Callable[[torch.Tensor], torch.Tensor]] = (),
    ) -> None:
        self.geometric: torch.nn.Module | None = None
        if geometric:
            from kornia.augmentation import AugmentationSequential

            parts: Any = geometric
            self.geometric = AugmentationSequential(*parts, data_keys=["input", "mask"])
        self.intensity = list(intensity)

    def __call__(
        self,
        batchdata: Mapping[str, Any],
        device: torch.device | str | None = None,
        non_blocking: bool = False,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return images and masks, augmented.

        Args:
            batchdata: holds `image` and `label`.
            device: where the tensors go.
            non_blocking: copy without waiting for the device.
            kwargs: passed to `Tensor.to`.

        Raises:
            ValueError: the channels of the images differ.
        """
        image = batchdata[CommonKeys.IMAGE].to(device=device, non_blocking=non_blocking, **kwargs)
        label = batchdata[CommonKeys.LABEL].to(device=device, non_blocking=non_blocking, **kwargs)
        channels = image.shape[1]
        grey = image[:, :1]
        if not torch.equal(image, grey.expand_as(image)):
            raise ValueError(
                f"the {channels} channels of the images differ; AugmentBatch is for grey images in all channels: "
                "augment before other channels are computed, with MONAI's transforms in random_transforms"
            )
        with torch.no_grad():
            if self.geometric is not None:
                grey, label = self.geometric(grey, label)
            for augmentation in self.intensity:
                grey = augmentation(grey).clamp(0, 1)
        return grey.repeat(1, channels, 1, 1), label
