"""Time and memory of one training step of the hybrid bundle, and where the time goes.

Each setting runs in a process of its own, over the bundle's own configuration, data and loss:

    python scripts/benchmark_training.py --out docs/results/benchmark_training.json
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
from monai.bundle import ConfigParser

from hybrid_attention.data.files import write_json
from hybrid_attention.engines.provenance import commit, processor

CONFIGS = Path(__file__).resolve().parents[1] / "bundles" / "hybrid" / "configs"
SETTINGS = [(size, *mode) for size in (256, 128) for mode in (("fp32", False), ("bf16", True))]


def measure(size: int, precision: str, channels_last: bool, steps: int, dataset_dir: str | None) -> dict[str, Any]:
    """Train some steps and return the median seconds of their stages.

    Args:
        size: image side in pixels.
        precision: "fp32" or "bf16".
        channels_last: memory format of the convolutions.
        steps: steps that are timed, after two that are not.
        dataset_dir: a folder in BUSI's layout, or None for phantoms.

    Returns:
        Seconds a step for data, forward, backward, optimizer and all; images a second; peak memory in GiB.
    """
    parser = ConfigParser()
    parser.read_config([CONFIGS / "train.yaml", CONFIGS / "from_scratch.yaml"])
    parser.update({"image_size": size, "precision": precision, "channels_last": channels_last, "device": "cpu"})
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
        "image_size": size,
        "precision": precision,
        "channels_last": channels_last,
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
    options.add_argument("--out", help="JSON file for the results")
    options.add_argument("--steps", type=int, default=10)
    options.add_argument("--dataset_dir")
    options.add_argument("--one", help=argparse.SUPPRESS)
    chosen = options.parse_args()
    if chosen.one:
        size, precision, channels_last = json.loads(chosen.one)
        print("result:" + json.dumps(measure(size, precision, channels_last, chosen.steps, chosen.dataset_dir)))
        return
    rows = []
    for setting in SETTINGS:
        command = [sys.executable, __file__, "--one", json.dumps(setting), "--steps", str(chosen.steps)]
        if chosen.dataset_dir:
            command += ["--dataset_dir", chosen.dataset_dir]
        printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        rows.append(json.loads(next(line for line in printed.splitlines() if line.startswith("result:"))[7:]))
        print(rows[-1], flush=True)
    for size in (256, 128):
        plain, fast = (row["images_per_second"] for row in rows if row["image_size"] == size)
        print(f"{size}: bf16 with channels_last is {fast / plain:.2f} times plain fp32")
    if chosen.out:
        about = {"commit": commit(), "torch": torch.__version__, "processor": processor()}
        write_json(chosen.out, {"provenance": about, "rows": rows})


if __name__ == "__main__":
    main()
