"""Size and cost of all networks of the project and of the baselines.

Each measurement runs in its own process. Results are kept, so an interrupted run can be continued:

    python scripts/benchmarks/network_costs.py                         # what is missing in the file
    python scripts/benchmarks/network_costs.py --again speed memory    # measure these again, e.g. on an idle machine
    python scripts/benchmarks/network_costs.py --networks HAN --image_size 256 --out costs_256.json

- size: parameters, and floating-point operations of the forward pass of one image. A multiply-add counts as two; only
  convolutions and matrix products are counted (`torch.utils.flop_counter`).
- memory: growth of the peak memory of the process in two training steps with AdamW on random images. It includes
  weights, gradients, optimizer state, features and the libraries' workspaces.
- speed: training images per second in the same steps, without data loading: the median step, after two for warm-up.

Networks are initialized randomly; the loss is the mean square of the logits, whose cost is negligible.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from hybrid_attention.data.writing import write_json
from hybrid_attention.engines import PrecisionInferer, to_memory_format
from hybrid_attention.engines.training_record import commit, processor
from hybrid_attention.networks import (
    DeepAttentionUNet,
    HybridAttentionNet,
    HybridLiteNet,
    LesionLogit,
    MultiTaskOCANet,
    MultiTaskUNet,
    PlainUNet,
    TripleEncoderUNet,
    baselines,
)
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

OUT = Path(__file__).resolve().parents[2] / "docs" / "results" / "network_costs.json"
NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "hybrid_lite": HybridLiteNet,
    "hybrid_lite, decoder of 64, 32, 16, 8 channels": partial(HybridLiteNet, channels=(64, 32, 16, 8)),
    "HAN": HybridAttentionNet,
    "HAN's baseline (BL)": partial(HybridAttentionNet, conv_block=False, sfeb=False, tam=False),
    "BL + ConvBlock": partial(HybridAttentionNet, sfeb=False, tam=False),
    "BL + ConvBlock + SFEB": partial(HybridAttentionNet, tam=False),
    "U-Net of HAN's paper": PlainUNet,
    "triple encoder, model 1 (CBAM)": partial(TripleEncoderUNet, attention="cbam"),
    "triple encoder, model 3 (Non-Local)": partial(TripleEncoderUNet, attention="non_local"),
    "triple encoder, model 7 (no attention)": partial(TripleEncoderUNet, attention=None),
    "deep Attention U-Net": DeepAttentionUNet,
    "deep Attention U-Net, 3 channels": partial(DeepAttentionUNet, in_channels=3),
    "MTL-OCA": MultiTaskOCANet,
    "MTL-OCA, segmentation only, 3 channels": lambda: LesionLogit(MultiTaskOCANet(in_channels=3, num_classes=None)),
    "U-Net of MTL-OCA's size": MultiTaskUNet,
    "MT-DUNet": baselines.MTDUNet,
    "U-Net with instance norm": baselines.basic_unet,
    "residual U-Net": baselines.residual_unet,
    "U-Net++": baselines.unet_plus_plus,
    "U-Net++, deep supervision": partial(baselines.unet_plus_plus, deep_supervision=True),
    "Attention U-Net": baselines.attention_unet,
    "SegResNet": baselines.segresnet,
    "Swin UNETR": baselines.swin_unetr,
    "AAU-Net": baselines.AAUNet,
    "BGRA-GSA, EfficientNet-B7": baselines.BGRAGSA,
    "BGRA-GSA, EfficientNet-B0": partial(baselines.BGRAGSA, encoder="efficientnet-b0"),
    "EH-Former, MiT-B5": baselines.EHFormer,
    "EH-Former, MiT-B0": partial(baselines.EHFormer, backbone="mit_b0"),
    "Swin-Unet": baselines.SwinUNet,
    "FlexibleUNet, EfficientNet-B0": baselines.flexible_unet,
    "FlexibleUNet, ResNet-34": partial(baselines.flexible_unet, backbone="resnet34"),
    "nnU-Net, 6 stages": baselines.nnunet,
    "nnU-Net ResEnc, 6 stages": baselines.nnunet_residual,
}
WARM_UP = 2


def size(network: Callable[[], nn.Module], image_size: int) -> dict[str, Any]:
    """Count the parameters, and the operations of the forward pass of one image."""
    net = network().eval()
    image = torch.rand(1, input_channels(net), image_size, image_size)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        net(image)
    return {"parameters": sum(weight.numel() for weight in net.parameters()), "flops": counter.get_total_flops()}


def memory(network: Callable[[], nn.Module], image_size: int, settings: dict[str, Any]) -> dict[str, Any]:
    """Return the growth of the peak memory of this process in two training steps, in GiB (Linux only)."""
    before = resident_memory("VmRSS")
    training_steps(network, image_size, settings, steps=2)
    return {"training_memory_gib": round((resident_memory("VmHWM") - before) / 2**20, 2)}


def resident_memory(field: str) -> int:
    """Return the current (VmRSS) or peak (VmHWM) memory of this process, in KiB.

    The peak of `resource.getrusage` includes that of the parent process.
    """
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


def speed(network: Callable[[], nn.Module], image_size: int, settings: dict[str, Any], steps: int) -> dict[str, Any]:
    """Return the number of training images per second."""
    seconds = training_steps(network, image_size, settings, WARM_UP + steps)[WARM_UP:]
    return {"images_per_second": round(settings["batch_size"] / statistics.median(seconds), 2), "steps": steps}


def input_channels(network: nn.Module) -> int:
    """Return the number of input channels of a network."""
    channels = (network.network if isinstance(network, LesionLogit) else network).in_channels
    if not isinstance(channels, int):
        raise TypeError(f"in_channels of {type(network).__name__} must be a number, got {channels!r}")
    return channels


def training_steps(
    network: Callable[[], nn.Module], image_size: int, settings: dict[str, Any], steps: int
) -> list[float]:
    """Train on one batch of random images, and return the seconds of each step."""
    torch.manual_seed(0)
    net = to_memory_format(network().train(), settings["channels_last"])
    inferer = PrecisionInferer(settings["precision"], settings["channels_last"])
    optimizer = torch.optim.AdamW([weight for weight in net.parameters() if weight.requires_grad])
    images = torch.rand(settings["batch_size"], input_channels(net), image_size, image_size)
    seconds = []
    for _ in range(steps):
        start = time.perf_counter()
        output = inferer(images, net)
        logits = [output] if isinstance(output, torch.Tensor) else [part for part in output if part is not None]
        torch.stack([part.square().mean() for part in logits]).sum().backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        seconds.append(time.perf_counter() - start)
    return seconds


def measure(name: str, what: str, settings: dict[str, Any], steps: int) -> dict[str, Any]:
    """Make one measurement of one network in this process, with provenance."""
    network, image_size = NETWORKS[name], settings["image_size"]
    found = {
        "size": lambda: size(network, image_size),
        "memory": lambda: memory(network, image_size, settings),
        "speed": lambda: speed(network, image_size, settings, steps),
    }[what]()
    return {**found, "provenance": {"commit": commit(), "torch": torch.__version__, "processor": processor()}}


def read(path: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """Return the rows of the file, if it exists.

    Raises:
        ValueError: the rows were measured with different settings.
    """
    if not path.is_file():
        return {}
    stored = json.loads(path.read_text(encoding="utf-8"))
    if stored["settings"] != settings:
        raise ValueError(f"{path} was measured with {stored['settings']}, not {settings}; choose another --out")
    return dict(stored["rows"])


def main() -> None:
    """Make the missing measurements, and write the file after each."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    measurements = ("size", "memory", "speed")
    options.add_argument("--networks", nargs="+", choices=list(NETWORKS), default=list(NETWORKS), metavar="NAME")
    options.add_argument("--measure", nargs="+", choices=measurements, default=measurements)
    options.add_argument("--again", nargs="+", choices=measurements, default=(), help="measurements to repeat")
    options.add_argument("--out", type=Path, default=OUT, help="JSON file for the results (default: %(default)s)")
    options.add_argument("--image_size", type=int, default=128)
    options.add_argument("--batch_size", type=int, default=10)
    options.add_argument("--precision", default="bf16")
    options.add_argument("--contiguous", action="store_true", help="contiguous memory format instead of channels_last")
    options.add_argument("--steps", type=int, default=5, help="number of timed steps")
    options.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    chosen = options.parse_args()
    settings = {
        "image_size": chosen.image_size,
        "batch_size": chosen.batch_size,
        "precision": chosen.precision,
        "channels_last": not chosen.contiguous,
    }
    if chosen.one:
        print("result:" + json.dumps(measure(chosen.one[0], chosen.one[1], settings, chosen.steps)))
        return
    rows = read(chosen.out, settings)
    for name in chosen.networks:
        for what in dict.fromkeys((*chosen.measure, *chosen.again)):
            if what in rows.get(name, {}) and what not in chosen.again:
                continue
            command = [sys.executable, __file__, *sys.argv[1:], "--one", name, what]
            printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
            found = json.loads(next(line for line in printed.splitlines() if line.startswith("result:"))[7:])
            rows.setdefault(name, {})[what] = found
            print(name, what, {key: value for key, value in found.items() if key != "provenance"}, flush=True)
            ordered = {name: rows[name] for name in NETWORKS if name in rows}
            write_json(chosen.out, {"settings": settings, "rows": ordered})


if __name__ == "__main__":
    main()
