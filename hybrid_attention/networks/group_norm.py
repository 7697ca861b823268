"""Group norm in place of batch norm, in any network."""

from __future__ import annotations

from torch import nn


def with_group_norm(network: nn.Module, num_groups: int = 8) -> nn.Module:
    """Replace every batch norm of a network by a group norm, which does not depend on the batch.

    MONAI's `norm` argument of `FlexibleUNet` reaches the decoder alone; this reaches all of it. Scales and shifts start
    anew, as do the networks here: weights that were trained with batch norm are of no use without its statistics.

    Reference:
        Y. Wu, K. He, "Group Normalization", ECCV 2018, arXiv:1803.08494.

    Args:
        network: is changed in place.
        num_groups: divides the channels of every batch norm.

    Returns:
        The network.

    Raises:
        ValueError: When the network has no batch norm, or channels of one are not divisible.
    """
    norms = {
        name: module
        for name, module in network.named_modules()
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d)
    }
    if not norms:
        raise ValueError(f"{type(network).__name__} has no batch norm to replace.")
    for name, norm in norms.items():
        if norm.num_features % num_groups:
            raise ValueError(f"{name} has {norm.num_features} channels, which {num_groups} groups do not divide.")
    for name, norm in norms.items():
        parent, _, child = name.rpartition(".")
        setattr(
            network.get_submodule(parent), child, nn.GroupNorm(num_groups, norm.num_features, norm.eps, norm.affine)
        )
    return network
