"""Time, memory and size of networks in training; each measurement runs in its own process.

    python scripts/benchmarks/training.py networks                          # what is missing in the file
    python scripts/benchmarks/training.py networks --measure speed memory   # measure these again
    python scripts/benchmarks/training.py networks --networks HAN --image_size 256 --out costs_256.json
    python scripts/benchmarks/training.py hybrid --out docs/results/benchmark_hybrid.json
    python scripts/benchmarks/training.py explainable --out docs/results/benchmark_explainable.json

`networks` measures all networks of the project and the baselines, initialized randomly, on random images; the loss is
the mean square of the logits, whose cost is negligible:

- size: parameters, and floating-point operations of the forward pass of one image. A multiply-add counts as two; only
  convolutions and matrix products are counted (`torch.utils.flop_counter`).
- memory: growth of the peak memory of the process in two training steps with AdamW (Linux only). It includes weights,
  gradients, optimizer state, features and the libraries' workspaces.
- speed: training images per second in the same steps, without data loading: the median step, after two for warm-up.

The others train bundles, with their configuration, data and loss, and time the stages of a step.
"""

from __future__ import annotations

import argparse
import itertools
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
from monai.bundle import ConfigParser
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / "docs" / "results" / "network_costs.json"
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
_FAST = {"precision": "bf16", "channels_last": True}
_PAPER = {"image_size": 224, "batch_size": 16, **_FAST}
# network, bundle, changes to its train.yaml
BUNDLES: dict[str, list[tuple[str, str, dict[str, Any]]]] = {
    "hybrid": [
        ("HAN", "hybrid", {"image_size": size, **mode})
        for size in (256, 128)
        for mode in ({"precision": "fp32", "channels_last": False}, _FAST)
    ],
    "explainable": [
        ("HAN", "hybrid", _PAPER),
        ("model 1 (CBAM)", "explainable", {"model": 1, **_PAPER}),
        ("model 3 (Non-Local)", "explainable", {"model": 3, **_PAPER}),
        ("model 7 (no attention)", "explainable", {"model": 7, **_PAPER}),
        ("model 5 (no attention, frozen)", "explainable", {"model": 5, "encoder_weights": "random", **_PAPER}),
    ],
}
MEASUREMENTS = ("size", "memory", "speed")
WARM_UP = 2


def size(network: Callable[[], nn.Module], image_size: int) -> dict[str, Any]:
    """Count the parameters, and the operations of the forward pass of one image."""
    net = network().eval()
    image = torch.rand(1, input_channels(net), image_size, image_size)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        net(image)
    return {"parameters": sum(weight.numel() for weight in net.parameters()), "flops": counter.get_total_flops()}


def resident_memory(field: str) -> int:
    """Return the current (VmRSS) or peak (VmHWM) memory of this process, in KiB.

    The peak of `resource.getrusage` includes that of the parent process.
    """
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


def input_channels(network: nn.Module) -> Any:
    """Return the number of input channels of a network."""
    return (network.network if isinstance(network, LesionLogit) else network).in_channels


def training_steps(network: Callable[[], nn.Module], settings: dict[str, Any], steps: int) -> list[float]:
    """Train on one batch of random images, and return the seconds of each step."""
    torch.manual_seed(0)
    net = to_memory_format(network().train(), settings["channels_last"])
    inferer = PrecisionInferer(settings["precision"], settings["channels_last"])
    optimizer = torch.optim.AdamW([weight for weight in net.parameters() if weight.requires_grad])
    side = settings["image_size"]
    images = torch.rand(settings["batch_size"], input_channels(net), side, side)
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


def network_costs(name: str, what: str, settings: dict[str, Any], steps: int) -> dict[str, Any]:
    """Make one measurement of one network, with provenance."""
    found: dict[str, Any] = {}
    if what == "size":
        found = size(NETWORKS[name], settings["image_size"])
    elif what == "memory":
        before = resident_memory("VmRSS")
        training_steps(NETWORKS[name], settings, steps=2)
        found["training_memory_gib"] = round((resident_memory("VmHWM") - before) / 2**20, 2)
    else:
        seconds = training_steps(NETWORKS[name], settings, WARM_UP + steps)[WARM_UP:]
        found = {"images_per_second": round(settings["batch_size"] / statistics.median(seconds), 2), "steps": steps}
    return {**found, "provenance": about()}


def bundle_costs(
    network: str, bundle: str, changes: dict[str, Any], steps: int, dataset_dir: str | None
) -> dict[str, Any]:
    """Train a bundle with the augmentation of `from_scratch.yaml`, and time the stages after two steps for warm-up.

    Returns:
        Median seconds per step of data, forward, backward and optimizer; images per second; peak memory in GiB.
    """
    parser = ConfigParser()
    configs = (f"{bundle}/configs/train.yaml", "hybrid/configs/from_scratch.yaml")
    parser.read_config([ROOT / "bundles" / config for config in configs])
    parser.update({"device": "cpu", **changes, **({"dataset_dir": dataset_dir} if dataset_dir else {})})
    net, loss, optimizer, inferer, loader = (
        parser.get_parsed_content(name)
        for name in ("network", "loss", "optimizer", "train#inferer", "train#dataloader")
    )
    before = resident_memory("VmHWM")
    stages: dict[str, list[float]] = {name: [] for name in ("data", "forward", "backward", "optimizer")}
    net.train()
    batches = itertools.chain.from_iterable(itertools.repeat(loader))
    for step in range(steps + WARM_UP):
        marks = [time.perf_counter()]
        batch = next(batches)
        marks.append(time.perf_counter())
        value = loss(inferer(batch["image"], net), batch["label"])
        marks.append(time.perf_counter())
        value.backward()
        marks.append(time.perf_counter())
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        marks.append(time.perf_counter())
        if step >= WARM_UP and len(batch["image"]) == loader.batch_size:
            for name, start, end in zip(stages, marks, marks[1:], strict=False):
                stages[name].append(end - start)
    seconds = {name: statistics.median(values) for name, values in stages.items()}
    total = sum(seconds.values())
    peak = resident_memory("VmHWM")
    return {
        "network": network,
        **{name: parser.get_parsed_content(name) for name in ("image_size", "precision", "channels_last")},
        "batch_size": loader.batch_size,
        "images_per_second": round(loader.batch_size / total, 2),
        "seconds": {name: round(value, 4) for name, value in seconds.items()},
        "data_share": round(seconds["data"] / total, 4),
        "peak_memory_gib": round(peak / 2**20, 2),
        "memory_before_training_gib": round(before / 2**20, 2),
    }


def about() -> dict[str, Any]:
    """Return commit, version and processor."""
    return {"commit": commit(), "torch": torch.__version__, "processor": processor()}


def alone(*one: Any) -> dict[str, Any]:
    """Return the result of one measurement in a process of its own."""
    command = [sys.executable, __file__, *sys.argv[1:], "--one", json.dumps(one)]
    printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    found: dict[str, Any] = json.loads(next(line for line in printed.splitlines() if line.startswith("result:"))[7:])
    print(*one, {key: value for key, value in found.items() if key != "provenance"}, flush=True)
    return found


def read(path: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """Return the rows of the file, if it exists."""
    stored = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {"settings": settings, "rows": {}}
    if stored["settings"] != settings:
        raise ValueError(f"{path} was measured with {stored['settings']}, not {settings}; choose another --out")
    return dict(stored["rows"])


def main() -> None:
    """Measure, and write the file; of networks after each measurement."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("benchmark", choices=("networks", *BUNDLES))
    options.add_argument("--out", type=Path, help="JSON file for the results (of networks: docs/results)")
    options.add_argument("--steps", type=int, default=10, help="timed steps (default: %(default)s)")
    options.add_argument("--dataset_dir", help="images for the bundles (default: phantoms)")
    options.add_argument("--networks", nargs="+", choices=list(NETWORKS), default=list(NETWORKS), metavar="NAME")
    options.add_argument("--measure", nargs="+", choices=MEASUREMENTS, default=(), help="default: what is missing")
    options.add_argument("--image_size", type=int, default=128, help="of networks (default: %(default)s)")
    options.add_argument("--batch_size", type=int, default=10, help="of networks (default: %(default)s)")
    options.add_argument("--one", type=json.loads, help=argparse.SUPPRESS)
    chosen = options.parse_args()
    settings = {"image_size": chosen.image_size, "batch_size": chosen.batch_size, **_FAST}
    if chosen.one and chosen.benchmark == "networks":
        name, what = chosen.one
        print("result:" + json.dumps(network_costs(name, what, settings, chosen.steps)))
    elif chosen.one:
        network, bundle, changes = chosen.one
        print("result:" + json.dumps(bundle_costs(network, bundle, changes, chosen.steps, chosen.dataset_dir)))
    elif chosen.benchmark == "networks":
        rows = read(chosen.out or OUT, settings)
        for name in chosen.networks:
            for what in chosen.measure or [one for one in MEASUREMENTS if one not in rows.get(name, {})]:
                rows.setdefault(name, {})[what] = alone(name, what)
                ordered = {name: rows[name] for name in NETWORKS if name in rows}
                write_json(chosen.out or OUT, {"settings": settings, "rows": ordered})
    else:
        measured = [alone(*setting) for setting in BUNDLES[chosen.benchmark]]
        if chosen.out:
            write_json(chosen.out, {"provenance": about(), "rows": measured})


if __name__ == "__main__":
    main()
