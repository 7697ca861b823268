"""Loading batches and starting a training, in one or several processes."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.distributed as dist
from hybrid_attention import data
from hybrid_attention.data.files import prepare_output_folder
from hybrid_attention.engines.inferer import to_memory_format
from monai.data import DataLoader, DistributedSampler
from monai.utils import set_determinism
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

    Args:
        device: of the network; an argument so that several processes have joined (`join_processes`) before they start.
        seed: of weights, order and augmentation.
        ckpt_dir: folder of the weights.
        train_cases: see `check_training_cases`.
        validation_cases: see `check_training_cases`.
        class_names: see `check_training_cases`.

    Raises:
        DataError: see `check_training_cases`.
        OSError: the folder can't be written.
    """
    data.check_training_cases(train_cases, validation_cases, class_names)
    set_determinism(seed=seed)
    prepare_output_folder(ckpt_dir)


def training_loader(dataset: Any, batch_size: int, seed: int = 0, num_workers: int = 0) -> DataLoader:
    """Load shuffled batches; each of several processes loads its share, with `batch_size` images per process.

    Args:
        dataset: the training cases.
        batch_size: images per batch. A last batch of one image is dropped, since batch norm can't be trained on it.
        seed: of the order.
        num_workers: see `torch.utils.data.DataLoader`.
    """
    processes, rank = (dist.get_world_size(), dist.get_rank()) if dist.is_initialized() else (1, 0)
    sampler = DistributedSampler(dataset, num_replicas=processes, rank=rank, shuffle=True, seed=seed)
    drop_last = len(sampler) % batch_size == 1
    return DataLoader(dataset, batch_size=batch_size, sampler=sampler, drop_last=drop_last, num_workers=num_workers)


def validation_loader(dataset: Any, batch_size: int, num_workers: int = 0) -> DataLoader:
    """Load batches in order; each of several processes loads its share, and each case is loaded once.

    Args:
        dataset: the validation cases.
        batch_size: images per batch.
        num_workers: see `torch.utils.data.DataLoader`.
    """
    sampler = DistributedSampler(dataset, even_divisible=False, shuffle=False) if dist.is_initialized() else None
    return DataLoader(dataset, batch_size=batch_size, sampler=sampler, num_workers=num_workers)


def join_processes() -> torch.device:
    """Join the processes that `torchrun` started, with NCCL on one GPU per process or with gloo on CPUs.

    Returns:
        The device of this process.
    """
    cuda = torch.cuda.is_available()
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if cuda else torch.device("cpu")
    if not dist.is_initialized():
        dist.init_process_group(backend="nccl" if cuda else "gloo")
    if cuda:
        torch.cuda.set_device(device)
    return device


def place_network(network: torch.nn.Module, device: torch.device | str, channels_last: bool) -> torch.nn.Module:
    """Move a network to a device; if several processes have joined, wrap it so that they train it together.

    Args:
        network: changed in place.
        device: where it runs.
        channels_last: see `to_memory_format`.
    """
    network = to_memory_format(network, channels_last).to(device)
    if not dist.is_initialized():
        return network
    return DistributedDataParallel(network, [device] if torch.device(device).type == "cuda" else None)
