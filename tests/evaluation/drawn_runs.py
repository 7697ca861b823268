"""Evaluation runs as the package writes them, over drawn discs."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hybrid_attention.evaluation import confusion_counts, lesion_detection, overlap_scores, summarize, surface_distances
from hybrid_attention.evaluation.metrics.classification import class_summary
from hybrid_attention.evaluation.metrics.roc_and_calibration import PixelCalibration, PixelRoc
from hybrid_attention.evaluation.results import read_csv, write_evaluation, write_picture, write_pictures, write_table

CLASSES = ("benign", "malignant", "normal")


def disc(size: int, column: float, row: float, radius: float) -> np.ndarray:
    """A disc, (H, W)."""
    rows, columns = np.mgrid[:size, :size]
    return (columns - column) ** 2 + (rows - row) ** 2 <= radius**2


def write_run(
    folder, cases=8, error=0, size=64, pictures=True, gradcam=False, classes=None, normal_every=4, fold=None, epochs=3
):
    """Write a run whose masks are shifted to the right by `error` pixels, a little more from case to case.

    With `fold` its cases are others than those of any other fold. With `classes` there are predicted classes, wrong in
    the first so many cases.
    """
    rows, left_out, roc, calibration = [], [], PixelRoc(), PixelCalibration()
    image = torch.arange(size)[:, None] + torch.arange(size)
    for index in range(cases):
        normal = normal_every > 0 and index % normal_every == normal_every - 1
        name, number = "normal" if normal else CLASSES[index % 2], 100 * (fold or 0) + index
        row = {"case_id": f"{name}/{name} ({number}).png", "class": name, "group": str(number - index % 2)}
        mask, truth = (
            torch.from_numpy(disc(size, size / 2 + shift, size / 3, size / 6 + index % 3) & (not normal)).float()[None]
            for shift in (error + index % 5 * error / 4, 0)
        )
        probability = torch.where(mask > 0, 0.9, 0.1)
        roc.update(probability, truth)
        calibration.update(probability, truth)
        counts = confusion_counts(mask, truth)
        row |= {score: round(value, 6) for score, value in overlap_scores(counts).items()}
        row |= {**surface_distances(mask, truth), **lesion_detection(mask, truth), **counts}
        if classes is not None:
            shares = [0.2, 0.2, 0.2]
            shares[(CLASSES.index(name) + (index < classes)) % 3] = 0.6
            row["predicted_class"] = CLASSES[int(np.argmax(shares))]
            row |= {f"probability_{one}": share for one, share in zip(CLASSES, shares, strict=True)}
        rows.append(row)
        if pictures:
            write_pictures(folder, row["case_id"], image, mask[0], truth[0], probability[0])
        if gradcam and mask.any():
            write_picture(folder, "gradcam", row["case_id"], (255 * probability[0].numpy()).astype(np.uint8))
        elif gradcam:
            left_out.append(row["case_id"])
    table = pd.DataFrame(rows)
    record = {
        "synthetic_data": False,
        "split": "drawn discs" + ("" if fold is None else f", test fold {fold} of 3, validation fold {(fold + 1) % 3}"),
        "part": "test",
        "settings": {"image_size": size},
        **summarize(table),
        "distance_unit": "pixel",
        "pixel_roc": {"auc": roc.auc(), "error_bound": roc.error_bound(), "pixels": roc.pixels},
        "calibration": {"ece": calibration.expected_error(), "bins": 15},
        "data_sha256": "ab" * 32,
        "training": {"epoch": 2, "recipe": {"epochs": epochs, "lesions_only": False}},
        "provenance": {"commit": "c0ffee" * 6, "version": "0.2.0"},
        "classification": class_summary(table),
    }
    write_evaluation(folder, table, record)
    if gradcam:
        (folder / "gradcam" / "left_out.json").write_text(json.dumps(left_out))
    if not np.isnan(roc.auc()):
        write_table(folder / "roc.csv", roc.curve())
    write_table(folder / "calibration.csv", calibration.curve())
    return folder


def change_record(folder: Path, keep: tuple[str, ...] = (), **values) -> Path:
    """Change entries of a run's record, and drop all that are not kept, if some are."""
    path = folder / "summary.json"
    record = {key: value for key, value in json.loads(path.read_text()).items() if not keep or key in keep}
    path.write_text(json.dumps({**record, **values}))
    return folder


def change_rows(folder: Path, change) -> Path:
    """Change the rows of a run's per-case file by a function from rows to rows; its summary is dropped."""
    path = folder / "per_case.csv"
    rows = read_csv(path, ("case_id", "class", "group")).to_dict("records")
    write_table(path, pd.DataFrame(change(rows)))
    keep = ("synthetic_data", "split", "part", "settings", "distance_unit", "training", "provenance")
    return change_record(folder, keep)


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
