"""Time and memory of a training step of the bundles, by stage.

Each setting runs in its own process, with the configuration, data and loss of the bundle:

    python scripts/benchmarks/training.py hybrid --out docs/results/benchmark_hybrid.json
    python scripts/benchmarks/training.py explainable --out docs/results/benchmark_explainable.json
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from hybrid_attention.data.writing import write_json
from hybrid_attention.engines.training_record import commit, processor
from monai.bundle import ConfigParser

BUNDLES = Path(__file__).resolve().parents[2] / "bundles"
_FAST = {"precision": "bf16", "channels_last": True}
_PAPER = {"image_size": 224, "batch_size": 16, **_FAST}
# network, bundle, changes to its train.yaml
BENCHMARKS: dict[str, list[tuple[str, str, dict[str, Any]]]] = {
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


def measure(network: str, bundle: str, options: dict[str, Any], steps: int, dataset_dir: str | None) -> dict[str, Any]:
    """Train some steps with the augmentation of `from_scratch.yaml`, after two for warm-up, and time their stages.

    Returns:
        Median seconds per step of data, forward, backward and optimizer; images per second; peak memory in GiB.
    """
    parser = ConfigParser()
    parser.read_config([BUNDLES / bundle / "configs" / "train.yaml", BUNDLES / "hybrid/configs/from_scratch.yaml"])
    parser.update({"device": "cpu", **options})
    if dataset_dir:
        parser.update({"dataset_dir": dataset_dir})
    parts = {name: parser.get_parsed_content(name) for name in ("network", "loss", "optimizer")}
    inferer, loader = (parser.get_parsed_content(f"train#{name}") for name in ("inferer", "dataloader"))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    stages: dict[str, list[float]] = {name: [] for name in ("data", "forward", "backward", "optimizer")}
    parts["network"].train()
    batches = iter(loader)
    for step in range(steps + 2):
        marks = [time.perf_counter()]
        batch = next(batches, None)
        if batch is None:
            batches = iter(loader)
            batch = next(batches)
        marks.append(time.perf_counter())
        loss = parts["loss"](inferer(batch["image"], parts["network"]), batch["label"])
        marks.append(time.perf_counter())
        loss.backward()
        marks.append(time.perf_counter())
        parts["optimizer"].step()
        parts["optimizer"].zero_grad(set_to_none=True)
        marks.append(time.perf_counter())
        if step >= 2 and len(batch["image"]) == loader.batch_size:
            for name, start, end in zip(stages, marks, marks[1:], strict=False):
                stages[name].append(end - start)
    seconds = {name: statistics.median(values) for name, values in stages.items()}
    total = sum(seconds.values())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "network": network,
        "image_size": parser.get_parsed_content("image_size"),
        "precision": parser.get_parsed_content("precision"),
        "channels_last": parser.get_parsed_content("channels_last"),
        "batch_size": loader.batch_size,
        "images_per_second": round(loader.batch_size / total, 2),
        "seconds": {name: round(value, 4) for name, value in seconds.items()},
        "data_share": round(seconds["data"] / total, 4),
        "peak_memory_gib": round(peak / 2**20, 2),
        "memory_before_training_gib": round(before / 2**20, 2),
    }


def main() -> None:
    """Run every setting and write the table."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("benchmark", choices=list(BENCHMARKS))
    options.add_argument("--out", help="JSON file for the results")
    options.add_argument("--steps", type=int, default=10)
    options.add_argument("--dataset_dir")
    options.add_argument("--one", help=argparse.SUPPRESS)
    chosen = options.parse_args()
    if chosen.one:
        network, bundle, settings = json.loads(chosen.one)
        print("result:" + json.dumps(measure(network, bundle, settings, chosen.steps, chosen.dataset_dir)))
        return
    rows = []
    for setting in BENCHMARKS[chosen.benchmark]:
        command = [sys.executable, __file__, *sys.argv[1:], "--one", json.dumps(setting)]
        printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        rows.append(json.loads(next(line for line in printed.splitlines() if line.startswith("result:"))[7:]))
        print(rows[-1], flush=True)
    if chosen.out:
        about = {"commit": commit(), "torch": torch.__version__, "processor": processor()}
        write_json(chosen.out, {"provenance": about, "rows": rows})


if __name__ == "__main__":
    main()
