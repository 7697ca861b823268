"""Evaluation runs as the package writes them, over drawn discs."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hybrid_attention.evaluation import classification_scores, confusion_counts, overlap_scores, summarize
from hybrid_attention.evaluation.metrics.roc_and_calibration import PixelCalibration, PixelRoc
from hybrid_attention.evaluation.metrics.segmentation import lesion_detection, surface_distances
from hybrid_attention.evaluation.results import write_picture, write_pictures
from PIL import Image

CLASSES = ("benign", "malignant", "normal")


def disc(size: int, column: float, row: float, radius: float) -> np.ndarray:
    """A disc, (H, W)."""
    rows, columns = np.mgrid[:size, :size]
    return (columns - column) ** 2 + (rows - row) ** 2 <= radius**2


def write_run(
    folder: Path,
    cases: int = 8,
    error: float = 0.0,
    size: int = 64,
    pictures: bool = True,
    gradcam: bool = False,
    classes: bool = False,
    synthetic: bool = False,
    normal_every: int = 4,
    epochs: int = 3,
    fold: int | None = None,
    wrong: int = 1,
) -> Path:
    """Write a run whose masks are shifted to the right by `error` pixels, a little more from case to case.

    With `fold` its cases are others than those of any other fold. The classes of the first `wrong` cases are wrong.
    """
    first = 0 if fold is None else 100 * fold
    rows, left_out, roc, calibration = [], [], PixelRoc(), PixelCalibration()
    for index in range(cases):
        normal = normal_every > 0 and index % normal_every == normal_every - 1
        name = "normal" if normal else CLASSES[index % 2]
        case_id = f"{name}/{name} ({first + index}).png"
        truth = np.zeros((size, size), bool) if normal else disc(size, size / 2, size / 3, size / 6 + index % 3)
        mask = truth if normal else disc(size, size / 2 + error + index % 5 * error / 4, size / 3, size / 6 + index % 3)
        probability = np.where(mask, 0.9, 0.1).astype(np.float32)
        image = np.add.outer(np.arange(size), np.arange(size)).astype(np.float32)
        pair = [torch.from_numpy(array.astype(np.float32))[None] for array in (mask, truth)]
        counts = confusion_counts(*pair)
        roc.update(torch.from_numpy(probability)[None], pair[1])
        calibration.update(torch.from_numpy(probability)[None], pair[1])
        row = {"case_id": case_id, "class": name, "group": str(first + index // 2)}
        row |= {score: round(value, 6) for score, value in overlap_scores(counts).items()}
        row |= {**surface_distances(*pair), **lesion_detection(*pair), **counts}
        if classes:
            shares = [0.2, 0.2, 0.2]
            shares[(CLASSES.index(name) + (index < wrong)) % 3] = 0.6
            row["predicted_class"] = CLASSES[int(np.argmax(shares))]
            row |= {f"probability_{one}": share for one, share in zip(CLASSES, shares, strict=True)}
        rows.append(row)
        if pictures:
            write_pictures(folder, case_id, image, pair[0][0], pair[1][0], torch.from_numpy(probability))
        if gradcam and mask.any():
            write_picture(folder, "gradcam", case_id, (255 * probability).astype(np.uint8))
        elif gradcam:
            left_out.append(case_id)
    record = {
        "synthetic_data": synthetic,
        "split": "drawn discs" + ("" if fold is None else f", test fold {fold} of 3, validation fold {(fold + 1) % 3}"),
        "part": "test",
        "settings": {"image_size": size},
        **summarize(pd.DataFrame(rows)),
        "distance_unit": "pixel",
        "pixel_roc": {"auc": roc.auc(), "error_bound": roc.error_bound(), "pixels": roc.pixels},
        "calibration": {"ece": calibration.expected_error(), "bins": 15},
        "data_sha256": "ab" * 32,
        "training": {"epoch": 2, "recipe": {"epochs": epochs, "lesions_only": False}},
        "provenance": {"commit": "c0ffee" * 6, "version": "0.2.0"},
    }
    if classes:
        shares = [[row[f"probability_{one}"] for one in CLASSES] for row in rows]
        names, groups = [row["class"] for row in rows], [row["group"] for row in rows]
        record["classification"] = classification_scores(names, shares, CLASSES, groups)
    folder.mkdir(parents=True, exist_ok=True)
    if gradcam:
        (folder / "gradcam" / "left_out.json").write_text(json.dumps(left_out))
    write_rows(folder / "per_case.csv", rows)
    (folder / "summary.json").write_text(json.dumps(record))
    if not np.isnan(roc.auc()):
        write_rows(folder / "roc.csv", roc.curve().to_dict("records"))
    write_rows(folder / "calibration.csv", calibration.curve().to_dict("records"))
    return folder


def write_rows(path: Path, rows: list[dict]) -> None:
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def read_rows(path: Path) -> list[dict]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def record_edit():
    """Change the record of a run: `record_edit(folder, part="train")`."""

    def edited(folder, **values):
        path = folder / "summary.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **values}))
        return folder

    return edited


def speckled(folder: Path) -> Path:
    """Draw speckle, which compresses worst, over the grey pictures of a run of 256 x 256 pixels."""
    generator = np.random.default_rng(0)
    for kind in ("images", "probabilities", "gradcam"):
        for path in sorted((folder / kind).rglob("*.png")):
            images = kind == "images"
            speckle = generator.rayleigh(40, (256, 256)) if images else generator.normal(128, 12, (256, 256))
            Image.fromarray(speckle.clip(0, 255).astype(np.uint8)).save(path)
    return folder


@pytest.fixture(scope="session")
def written(tmp_path_factory):
    """Write each kind of run once in a session."""
    folder, known = tmp_path_factory.mktemp("runs"), {}

    def of(**settings) -> Path:
        key = tuple(sorted(settings.items()))
        if key not in known:
            known[key] = write_run(folder / str(len(known)), **settings)
        return known[key]

    return of


@pytest.fixture
def make_run(written, tmp_path):
    """Give a run of drawn discs a folder of its own: `make_run("name", error=3)`."""
    return lambda name, **settings: Path(shutil.copytree(written(**settings), tmp_path / name))


@pytest.fixture
def edit():
    """Change the rows of a run's per-case file: `edit(folder, lambda rows: …)`, which returns the new rows."""

    def edited(folder, change):
        write_rows(folder / "per_case.csv", change(read_rows(folder / "per_case.csv")))
        record = json.loads((folder / "summary.json").read_text())
        keep = ("synthetic_data", "split", "settings", "training", "provenance")
        (folder / "summary.json").write_text(json.dumps({key: record[key] for key in keep}))
        return folder

    return edited
