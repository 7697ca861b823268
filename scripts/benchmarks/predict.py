"""Time of the command `predict`, from the start of its process to its end: for a single image, and for a folder.

    python scripts/benchmarks/predict.py BUSI --out docs/results/benchmark_predict.json

The settings take turns, so that a slower machine affects all of them; times are medians over the rounds.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from hybrid_attention.data import image_datalist
from hybrid_attention.data.writing import write_json
from hybrid_attention.engines.training_record import commit, processor

# bundle, backend and pictures
SETTINGS = (
    ("hybrid_lite", "auto", ("mask",)),
    ("hybrid_lite", "auto", ("mask", "overlay")),
    ("hybrid_lite", "auto", ("mask", "overlay", "probability")),
    ("hybrid_lite", "torch", ("mask", "overlay")),
    ("hybrid", "auto", ("mask", "overlay")),
)


def seconds(images: Path, bundle: str, backend: str, outputs: tuple[str, ...]) -> float:
    """Return the seconds of one call of the command in a process of its own."""
    with tempfile.TemporaryDirectory() as out:
        words = ["predict", str(images), "--out", out, "--bundle", bundle, "--backend", backend, "--outputs", *outputs]
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "hybrid_attention", *words], check=True, stderr=subprocess.DEVNULL)
        return time.perf_counter() - start


def measure(folder: Path, repeats: int) -> list[dict[str, Any]]:
    """Time every setting on one image and on all images of a folder; one row per setting."""
    images = sorted(folder.iterdir())
    times: dict[Any, list[tuple[float, float]]] = {setting: [] for setting in SETTINGS}
    for _ in range(repeats):
        for setting in SETTINGS:
            times[setting].append((seconds(images[0], *setting), seconds(folder, *setting)))
    rows = []
    for (bundle, backend, outputs), found in times.items():
        first, whole = (statistics.median(each) for each in zip(*found, strict=True))
        row = {"network": bundle, "backend": backend, "outputs": " ".join(outputs), "one_image_seconds": first}
        rows.append({**row, "seconds": whole, "images_per_second": len(images) / whole})
    return [{key: round(one, 3) if isinstance(one, float) else one for key, one in row.items()} for row in rows]


def main() -> None:
    """Copy images without their masks to a folder, measure, write; frames of loops are left out."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("dataset_dir", help="folder of images")
    options.add_argument("--count", type=int, default=100, help="images (default: %(default)s)")
    options.add_argument("--repeats", type=int, default=5, help="rounds (default: %(default)s)")
    options.add_argument("--out", type=Path, required=True, help="JSON file for the results")
    chosen = options.parse_args()
    paths = [Path(case["image"]) for case in image_datalist(chosen.dataset_dir)]
    paths = [path for path in paths if path.is_file()]
    paths = paths[:: max(1, len(paths) // chosen.count)][: chosen.count]
    with tempfile.TemporaryDirectory() as folder:
        for number, path in enumerate(paths):
            shutil.copy(path, Path(folder) / f"{number}_{path.name}")
        rows = measure(Path(folder), chosen.repeats)
    about = {"commit": commit(), "processor": processor(), "images": len(paths), "repeats": chosen.repeats}
    write_json(chosen.out, {"provenance": {**about, "data": Path(chosen.dataset_dir).name}, "rows": rows})
    for row in rows:
        print(row)


if __name__ == "__main__":
    main()
