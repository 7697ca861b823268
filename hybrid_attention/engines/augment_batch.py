"""Augmentation of whole batches, on the device where the network runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.engines.utils import default_prepare_batch
from monai.utils import CommonKeys
from torch.nn.functional import interpolate


class AugmentBatch:
    """Augment a batch as `prepare_batch` of MONAI's trainer.

    Each image of the batch gets its own random parameters. The first channel is augmented and repeated, since all
    channels of an ultrasound image are equal. Random numbers are torch's, which `EpochSeed` seeds, so a resumed run
    draws the same as an uninterrupted one.

    Args:
        geometric: kornia augmentations that move pixels; applied to the mask with nearest neighbour interpolation.
        intensity: augmentations of grey values, modules that take and return (B, 1, H, W) with values from 0 to 1.
        prepare_batch: converts the augmented batch to the trainer's input, for example `prepare_multi_task_batch`.
        sizes: progressive sizes, as {first epoch: side in pixels}: from that epoch on images and masks are resized to
            squares of that side. For this, also pass the object to the trainer's handlers.

    Shape:
        - `image`: (B, C, H, W), all C channels alike
        - `label`: (B, 1, H, W)
        - output: of `prepare_batch`; by default the same two, on the device
    """

    def __init__(
        self,
        geometric: Sequence[torch.nn.Module] = (),
        intensity: Sequence[Callable[[torch.Tensor], torch.Tensor]] = (),
        prepare_batch: Callable[..., Any] = default_prepare_batch,
        sizes: Mapping[int, int] | None = None,
    ) -> None:
        self.geometric: torch.nn.Module | None = None
        if geometric:
            from kornia.augmentation import AugmentationSequential

            parts: Any = geometric
            self.geometric = AugmentationSequential(*parts, data_keys=["input", "mask"])
        self.intensity = list(intensity)
        self.prepare_batch = prepare_batch
        self.sizes = dict(sizes or {})
        self.size: int | None = None

    def attach(self, engine: Engine) -> None:
        """Attach to a trainer.

        Args:
            engine: the trainer.
        """
        engine.add_event_handler(Events.EPOCH_STARTED, self.start_epoch)

    def start_epoch(self, engine: Engine) -> None:
        """Choose the size of the epoch that starts."""
        started = [first for first in self.sizes if first <= engine.state.epoch]
        self.size = self.sizes[max(started)] if started else None

    def __call__(
        self,
        batchdata: Mapping[str, Any],
        device: torch.device | str | None = None,
        non_blocking: bool = False,
        **kwargs: Any,
    ) -> Any:
        """Return the prepared batch, augmented.

        Args:
            batchdata: with `image`, `label` and the keys that `prepare_batch` needs.
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
            if self.size is not None and grey.shape[2:] != (self.size, self.size):
                size = [self.size, self.size]
                grey = interpolate(grey, size, mode="bilinear", antialias=True).clamp(0, 1)
                label = interpolate(label, size, mode="nearest-exact")
        augmented = {**batchdata, CommonKeys.IMAGE: grey.repeat(1, channels, 1, 1), CommonKeys.LABEL: label}
        return self.prepare_batch(augmented, device, non_blocking, **kwargs)
