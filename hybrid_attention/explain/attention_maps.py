"""Attention maps of a network, and numbers that say how narrow they are and whether they cover the lesion."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from hybrid_attention.explain.grad_cam import evaluation_mode
from hybrid_attention.networks.blocks.attention import (
    ChannelGate,
    NonLocal,
    ObjectContext,
    SpatialGate,
    positions_first,
)
from hybrid_attention.networks.blocks.convolutions import interpolation_mode
from hybrid_attention.networks.blocks.sfeb import SFEB
from hybrid_attention.networks.blocks.tam import GSA, TSA
from monai.networks.nets.attentionunet import AttentionBlock
from monai.utils import convert_to_tensor
from torch import nn

Maps = dict[str, torch.Tensor]
_WITH_ATTENTION = (
    "HybridAttentionNet, HybridMultiTaskNet and HybridLiteNet (with sfeb or tam), TripleEncoderUNet (with attention), "
    "DeepAttentionUNet (with attention_gates), MultiTaskOCANet (with object_context), "
    "baselines.attention_unet and baselines.EHFormer"
)


def attention_maps(network: nn.Module, image: torch.Tensor, pixel: Sequence[int] | None = None) -> Maps:
    """Compute the attention maps of all blocks with attention in a network, in the order in which they run.

    | block | name | map |
    |---|---|---|
    | TSA | of the module | attention that each channel receives, mean over the channels that attend |
    | GSA, NonLocal | of the module | attention that each position receives, mean over all positions, or from `pixel` |
    | SFEB | of the module | features that the block adds, mean over the channels |
    | SFEB | of the module, `.gate` | coefficient of each channel |
    | CBAM | of `channel_gate` and `spatial_gate` | coefficient of each channel, and of each position |
    | AttentionBlock | of the module | coefficient of each position (Oktay's gate) |
    | ObjectContext | of the module, `.region_K` | share of each position in object region K |

    The softmax maps and regions sum to 1 at the block's own resolution; coefficients are from 0 to 1. The network runs
    in evaluation mode and without autocast, and is left unchanged. Maps of a network that pads the image to a multiple
    of its stride cover the padded image.

    A map shows what a block weights, not what the output depends on: later layers may undo it.

    Args:
        network: with blocks of this package or MONAI's `AttentionBlock`; not scripted.
        image: input batch of the network, (batch, channels, *spatial).
        pixel: position in the image, (row, column) in two dimensions, whose attention GSA and NonLocal show.

    Shape:
        For positions (batch, 1, *spatial), interpolated linearly to the size of the image; for channels (batch,
        channels of the block); float32.
    """
    blocks = attention_blocks(network)
    size = tuple(image.shape[2:])
    if pixel is not None and not (
        len(pixel) == len(size) and all(0 <= p < n for p, n in zip(pixel, size, strict=True))
    ):
        raise ValueError(f"pixel must be a position in an image of {size} pixels, got {tuple(pixel)}")
    found: Maps = {}

    def look(module: nn.Module, args: Any, named: dict[str, Any], output: Any, name: str) -> None:
        inputs = (*args, *named.values())
        place = None if pixel is None else _place(pixel, size, inputs[0].shape[2:])
        for suffix, attention in _BLOCKS[type(module)](module, inputs, output, place).items():
            found[f"{name}.{suffix}" if suffix else name] = attention.float()

    batch = convert_to_tensor(image, track_meta=False).to(next(network.parameters(), image).dtype)
    hooks = [block.register_forward_hook(partial(look, name=name), with_kwargs=True) for name, block in blocks.items()]
    try:
        with torch.no_grad(), torch.autocast(batch.device.type, enabled=False), evaluation_mode(network):
            network(batch)
    finally:
        for hook in hooks:
            hook.remove()
    mode = interpolation_mode(len(size))
    return {
        name: attention if attention.dim() == 2 else F.interpolate(attention, size, mode=mode, align_corners=False)
        for name, attention in found.items()
    }


def attention_blocks(network: nn.Module) -> dict[str, nn.Module]:
    """Return the blocks with attention by name."""
    if isinstance(network, torch.jit.ScriptModule):
        raise ValueError("attention maps need an eager network, got a scripted one")
    blocks = {name: block for name, block in network.named_modules() if type(block) in _BLOCKS}
    if not blocks:
        raise ValueError(f"{type(network).__name__} has no attention; networks with attention: {_WITH_ATTENTION}")
    return blocks


def attention_numbers(attention: torch.Tensor, mask: torch.Tensor | None = None) -> dict[str, float]:
    """Measure how narrow an attention map is, and how much of it is on the lesion.

    With the shares p of the attention at n positions or channels, the entropy is `-sum(p log p) / log n`: 1 if all
    shares are equal, 0 if one position or channel has all attention. The coverage is the sum of p within the lesion,
    and the lift is the coverage divided by the lesion's share of the image: 1 for attention that ignores the lesion,
    above 1 for attention to it.

    Args:
        attention: map of one image, at least 0, (1, *spatial), or (channels,).
        mask: lesion above 0.5, as attention; None for channels.

    Returns:
        `entropy`, `coverage` and `lift`; NaN if undefined: coverage and lift without a lesion, all if the map is 0.
    """
    shares = attention.flatten().double()
    shares = shares / shares.sum()
    entropy = -(torch.xlogy(shares, shares)).sum() / math.log(len(shares))
    lesion = (torch.zeros_like(shares) if mask is None else mask.flatten().to(shares)) > 0.5
    area, covered = float(lesion.double().mean()), float(shares[lesion].sum())
    coverage, lift = (covered, covered / area) if area > 0 else (math.nan, math.nan)
    return {"entropy": float(entropy), "coverage": coverage, "lift": lift}


def _place(pixel: Sequence[int], size: Sequence[int], own: Sequence[int]) -> int:
    """Return the flat index, at a block's resolution, of a position in the image."""
    place = 0
    for position, whole, part in zip(pixel, size, own, strict=True):
        place = place * part + position * part // whole
    return place


def _received(q: torch.Tensor, k: torch.Tensor, scale: float | None, place: int | None = None) -> torch.Tensor:
    """Return the attention that each key receives, (b, heads, n), from (b, heads, n, d)."""
    if place is not None:
        q = q[:, :, place : place + 1]
    logits = q @ k.transpose(2, 3) * (q.shape[3] ** -0.5 if scale is None else scale)
    return logits.softmax(dim=3).mean(dim=2)


def _tsa(block: TSA, inputs: Any, output: torch.Tensor, place: int | None) -> Maps:
    x = inputs[0]
    shape = (x.shape[0], block.num_heads, x.shape[1] // block.num_heads, -1)
    received = _received(block.query(x).reshape(shape), block.key(x).reshape(shape), block.scale)
    return {"": received.flatten(1) / block.num_heads}  # (b, heads, c / heads) -> (b, c)


def _gsa(block: GSA, inputs: Any, output: torch.Tensor, place: int | None) -> Maps:
    x = inputs[0]
    received = _received(block._heads(block.query(x)), block._heads(block.key(x)), None, place)
    return {"": received.mean(dim=1).reshape(x[:, :1].shape)}  # (b, heads, n) -> (b, 1, *spatial)


def _non_local(block: NonLocal, inputs: Any, output: torch.Tensor, place: int | None) -> Maps:
    x = inputs[0]
    received = _received(positions_first(block.theta(x)), positions_first(block.phi(x)), 1.0, place)
    return {"": received.reshape(x[:, :1].shape)}


def _sfeb(block: SFEB, inputs: Any, output: torch.Tensor, place: int | None) -> Maps:
    x = inputs[0]
    added = (output - x).mean(dim=1, keepdim=True).clamp_min(0)  # below 0 only by rounding
    return {"gate": block.gate(block.squeeze(x)).flatten(1), "": added}


def _oktay_gate(block: AttentionBlock, inputs: Any, output: torch.Tensor, place: int | None) -> Maps:
    g, x = inputs
    return {"": block.psi(block.relu(block.W_g(g) + block.W_x(x)))}


def _object_context(block: ObjectContext, inputs: Any, output: torch.Tensor, place: int | None) -> Maps:
    regions = inputs[1]
    shares = regions.flatten(2).softmax(dim=2).reshape(regions.shape)  # (b, K, *spatial), eq. 1
    return {f"region_{index}": shares[:, index : index + 1] for index in range(shares.shape[1])}


_BLOCKS: Mapping[type[nn.Module], Callable[..., Maps]] = {
    TSA: _tsa,
    GSA: _gsa,
    NonLocal: _non_local,
    SFEB: _sfeb,
    ChannelGate: lambda block, inputs, output, place: {"": block.coefficients(inputs[0]).flatten(1)},
    SpatialGate: lambda block, inputs, output, place: {"": block.coefficients(inputs[0])},
    AttentionBlock: _oktay_gate,
    ObjectContext: _object_context,
}
