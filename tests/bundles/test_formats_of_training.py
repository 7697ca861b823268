"""A folder in BUSI's layout with PNG, DICOM and NIfTI, from the split to the evaluation, run as a user does."""

import csv
import json

import nibabel
import numpy as np
import pytest
import torch
from hybrid_attention.cli import main
from hybrid_attention.engines import TrainedRun
from hybrid_attention.report.model_reports import draw_examples
from hybrid_attention.transforms.corruptions import Corruptd
from PIL import Image

from tests.bundles.commands import QUICK, bundle, config
from tests.dicom_files import region, write_dicom

TRAIN, EVALUATE = config("hybrid", "train"), config("hybrid", "evaluate")
SMALL = ["--network_def", "{'_target_': 'hybrid_attention.networks.baselines.residual_unet', 'channels': [4, 8, 16]}"]
SETS = range(1, 4)


@pytest.fixture
def images(phantoms, tmp_path):
    """Three phantoms, each as PNG, as NIfTI, and below and right of a banner as DICOM: a still image and a loop."""
    pytest.importorskip("pydicom", reason="the extra `dicom` is not installed")
    folder = tmp_path / "set" / "benign"
    folder.mkdir(parents=True)
    rows = ["image_id,duplicate_group"]
    for number in SETS:
        grey, truth = (
            np.asarray(Image.open(phantoms / "benign" / f"benign ({number}){what}.png").convert("L"))
            for what in ("", "_mask")
        )
        height, width = grey.shape
        place = [region(8, 20, width + 7, height + 19)]
        Image.fromarray(grey).save(folder / f"picture{number}.png")
        nibabel.save(nibabel.Nifti1Image(grey.T[..., None], np.eye(4)), folder / f"volume{number}.nii.gz")
        write_dicom(folder / f"still{number}.dcm", framed(grey, 200), regions=place)
        loop = np.stack([framed(grey, 200), framed(grey[:, ::-1], 200)])
        write_dicom(folder / f"loop{number}.dcm", loop, NumberOfFrames=2, regions=place)
        for name in (f"picture{number}", f"volume{number}"):
            Image.fromarray(truth).save(folder / f"{name}_mask.png")
        for name, mask in {"still{}": truth, "loop{}#1": truth, "loop{}#2": truth[:, ::-1]}.items():
            Image.fromarray(framed(mask, 0)).save(folder / f"{name.format(number)}_mask.png")
        rows += [f"benign/{name},{number}" for name in names(number)]
    (tmp_path / "groups.csv").write_text("\n".join(rows))
    return tmp_path / "set"


def framed(tissue, banner):
    return np.pad(tissue, ((20, 0), (8, 0)), constant_values=banner)


def names(number):
    same = [f"{name}{number}{end}" for name, end in (("picture", ".png"), ("volume", ".nii.gz"), ("still", ".dcm"))]
    return [*same, f"loop{number}.dcm#1", f"loop{number}.dcm#2"]


def table(path):
    with open(path, newline="") as file:
        return {row["case_id"]: row for row in csv.DictReader(file)}


def test_splits(images, tmp_path):
    out = tmp_path / "split.csv"
    words = ["splits", str(images), "--out", str(out), "--num-folds", "3"]
    assert main([*words, "--groups-csv", str(tmp_path / "groups.csv")]) == 0
    for number in SETS:
        rows = [table(out)[f"benign/{name}"] for name in names(number)]
        assert {row["group"] for row in rows} == {str(number)}
        assert len({row["part"] for row in rows}) == 1
    assert len(table(out)) == 15
    for seed in range(5):  # nothing is known on copies, but frames of a loop are of one file
        assert main([*words, "--seed", str(seed)]) == 0
        rows = table(out)
        assert all(len({rows[f"benign/loop{number}.dcm#{frame}"]["part"] for frame in (1, 2)}) == 1 for number in SETS)


def test_training_and_evaluation_at_the_size_of_the_files(images, tmp_path):
    given = ["--dataset_dir", images, "--output_dir", tmp_path / "out", "--groups_csv", tmp_path / "groups.csv"]
    given += ["--num_folds", 3, "--epochs", 1, *SMALL, *QUICK]
    bundle("training", [TRAIN], *given)
    bundle("evaluating", [TRAIN, EVALUATE], *given, "--score_size", "original", "--threshold", 0.4)
    folder = tmp_path / "out" / "evaluation"
    rows = list(table(folder / "per_case.csv").values())
    number = int(rows[0]["group"])
    assert [row["case_id"] for row in rows] == sorted(f"benign/{name}" for name in names(number))
    truth = np.asarray(Image.open(images / "benign" / f"picture{number}_mask.png")) > 0
    counts = {row["case_id"]: [int(row[name]) for name in ("tp", "fp", "fn", "tn")] for row in rows}
    for tp, fp, fn, tn in counts.values():
        assert tp + fn == truth.sum() > 0
        assert tp + fp + fn + tn == truth.size
    same = [counts[f"benign/{name}"] for name in names(number)[:4]]  # the same picture in four encodings
    assert same == [same[0]] * 4
    assert json.loads((folder / "summary.json").read_text())["score_size"] == "original"
    drawn = sorted(path.name for path in (folder / "truths").rglob("*.png"))
    stems = ["loop{}#1", "loop{}#2", "picture{}", "still{}", "volume{}"]
    assert drawn == [f"{stem.format(number)}.png" for stem in stems]
    for stem in stems:
        expected = truth[:, ::-1] if "#2" in stem else truth
        drawn_truth = np.asarray(Image.open(folder / "truths" / "benign" / f"{stem.format(number)}.png"))
        np.testing.assert_array_equal(drawn_truth > 0, expected)

    run = TrainedRun(tmp_path / "out", images, "cpu", tmp_path / "groups.csv")
    case = next(case for case in run.cases("test") if case["case_id"].endswith(f"still{number}.dcm"))
    (plain,), (marked,) = run.predict([case]), run.predict([case], disturbance=Corruptd("image", "callipers", 5))
    assert torch.equal(plain.target, marked.target) and not torch.equal(plain.image, marked.image)
    shown = draw_examples({"net": run}, case, ["callipers"]).axes[0].get_images()[0]
    assert shown.get_array().shape == truth.shape
