"""Starting a training in one or several processes, loading its batches and augmenting them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.distributed as dist
from hybrid_attention import data
from hybrid_attention.data.writing import prepare_output_folder
from hybrid_attention.engines.inferers import to_memory_format
from ignite.engine import Engine, Events
from monai.data import DataLoader, DistributedSampler, DistributedWeightedRandomSampler
from monai.engines.utils import default_prepare_batch
from monai.utils import CommonKeys, set_determinism
from torch.nn.functional import interpolate
from torch.nn.parallel import DistributedDataParallel


def prepare_training(
    device: torch.device,
    seed: int,
    ckpt_dir: str,
    train_cases: Sequence[Mapping[str, Any]],
    validation_cases: Sequence[Mapping[str, Any]],
    class_names: Sequence[str] | None = None,
) -> None:
    """Check the cases, make the training deterministic, and create the folder of its weights.

    `device` is an argument so that several processes join (`join_processes`) before they start.
    """
    data.check_training_cases(train_cases, validation_cases, class_names)
    set_determinism(seed=seed)
    prepare_output_folder(ckpt_dir)


def training_loader(
    dataset: Any, batch_size: int, seed: int = 0, num_workers: int = 0, balance_classes: bool = False
) -> DataLoader:
    """Return a loader of shuffled batches; each of several processes loads its share.

    A last batch of one image is dropped, since batch norm can't be trained on it. `balance_classes` draws with
    replacement, each `class` of the cases equally often on average.
    """
    processes, rank = (dist.get_world_size(), dist.get_rank()) if dist.is_initialized() else (1, 0)
    options: dict[str, Any] = {"num_replicas": processes, "rank": rank, "shuffle": True, "seed": seed}
    if balance_classes:
        classes = [case.get("class", "") for case in dataset.data]
        weights = [1 / classes.count(name) for name in classes]
        sampler: DistributedSampler = DistributedWeightedRandomSampler(dataset, weights, **options)
    else:
        sampler = DistributedSampler(dataset, **options)
    drop_last = len(sampler) % batch_size == 1
    return DataLoader(dataset, batch_size=batch_size, sampler=sampler, drop_last=drop_last, num_workers=num_workers)


def validation_loader(dataset: Any, batch_size: int, num_workers: int = 0) -> DataLoader:
    """Return a loader of batches in order; each of several processes loads its share, without repetition."""
    sampler = DistributedSampler(dataset, even_divisible=False, shuffle=False) if dist.is_initialized() else None
    return DataLoader(dataset, batch_size=batch_size, sampler=sampler, num_workers=num_workers)


def join_processes() -> torch.device:
    """Join the processes that `torchrun` started, one per GPU (NCCL) or on CPUs (Gloo), and return the device."""
    cuda = torch.cuda.is_available()
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if cuda else torch.device("cpu")
    if not dist.is_initialized():
        dist.init_process_group(backend="nccl" if cuda else "gloo")
    if cuda:
        torch.cuda.set_device(device)
    return device


def place_network(network: torch.nn.Module, device: torch.device | str, channels_last: bool) -> torch.nn.Module:
    """Move a network to a device; if several processes have joined, wrap it in `DistributedDataParallel`."""
    network = to_memory_format(network, channels_last).to(device)
    if not dist.is_initialized():
        return network
    return DistributedDataParallel(network, [device] if torch.device(device).type == "cuda" else None)


class AugmentBatch:
    """Augment a batch as `prepare_batch` of MONAI's trainer.

    Each image of the batch has its own random parameters. The first channel is augmented and repeated, since all
    channels of an ultrasound image are equal. Random numbers come from torch, which `EpochSeed` seeds, so a resumed run
    draws the same ones as an uninterrupted one.

    Args:
        geometric: kornia augmentations that move pixels; masks are augmented with nearest-neighbour interpolation.
        intensity: augmentations of grey values, modules that take and return (B, 1, H, W) with values from 0 to 1.
        prepare_batch: converts the augmented batch to the trainer's input, for example `prepare_multi_task_batch`.
        sizes: progressive sizes, as {first epoch: side in pixels}: from that epoch on images and masks are resized to
            squares of that side. For this, also pass the object to the trainer's handlers.

    Shape:
        - `image`: (B, C, H, W), all C channels alike, else a ValueError
        - `label`: (B, 1, H, W)
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
        """Attach to a trainer."""
        engine.add_event_handler(Events.EPOCH_STARTED, self._start_epoch)

    def _start_epoch(self, engine: Engine) -> None:
        started = [first for first in self.sizes if first <= engine.state.epoch]
        self.size = self.sizes[max(started)] if started else None

    def __call__(
        self,
        batchdata: Mapping[str, Any],
        device: torch.device | str | None = None,
        non_blocking: bool = False,
        **kwargs: Any,
    ) -> Any:
        """Return the prepared batch, augmented."""
        image = batchdata[CommonKeys.IMAGE].to(device=device, non_blocking=non_blocking, **kwargs)
        label = batchdata[CommonKeys.LABEL].to(device=device, non_blocking=non_blocking, **kwargs)
        channels = image.shape[1]
        grey = image[:, :1]
        if not torch.equal(image, grey.expand_as(image)):
            raise ValueError(
                f"the {channels} channels of the images differ, AugmentBatch needs equal ones: augment before other "
                "channels are computed, with MONAI's transforms in random_transforms"
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
