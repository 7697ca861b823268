"""Every bundle as a user runs it, from the command line, on files: trained, resumed, evaluated, run on images."""

import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.bundles.commands import BUNDLES, bundle, config

CLASSES = ("benign", "malignant", "normal")
CLASSIFY = ("mtl_oca", "hybrid_lite")
# the column that says which epoch is kept, and the sign of what is better
KEY = {"explainable": ("val_loss", -1), "mtl_oca": ("val_score", 1)}


@pytest.fixture(scope="module", params=BUNDLES)
def run(request, trained):
    return trained(request.param)


@pytest.fixture(scope="module")
def evaluated(run):
    """A run with its evaluation."""
    configs = [*run.configs, config(run.name, "evaluate")]
    run.printed = bundle("evaluating", configs, *run.given, "--gradcam", "True").stdout
    run.cases = pd.read_csv(run.out / "evaluation" / "per_case.csv")
    run.summary = json.loads((run.out / "evaluation" / "summary.json").read_text())
    return run


def test_training_learns_and_keeps_the_best_epoch(run):
    history = pd.read_csv(run.out / "history.csv")
    record = json.loads((run.out / "models" / "training.json").read_text())
    column, sign = KEY.get(run.name, ("val_mean_dice", 1))
    assert list(history["epoch"]) == [1, 2, 3]
    assert history["train_loss"].iloc[-1] < history["train_loss"].iloc[0]
    assert record["epoch"] == history["epoch"][(sign * history[column]).idxmax()]
    assert record["metric"][column] == pytest.approx(sign * max(sign * history[column]))
    assert len(record["images"]["training"]) > 2
    if run.name == "mtl_oca":
        assert np.allclose(history["val_score"], (history["val_mean_dice"] + history["val_accuracy"]) / 2)
    (events,) = (run.out / "tensorboard").iterdir()
    log = EventAccumulator(str(events)).Reload()
    assert len(log.Scalars("val_mean_dice")) == 3 and len(log.Tags()["images"]) > 0


def test_evaluation_scores_what_the_pictures_show(evaluated):
    folder, cases, summary = evaluated.out / "evaluation", evaluated.cases, evaluated.summary
    assert "SYNTHETIC DATA" in evaluated.printed and summary["synthetic_data"] is True
    size = int(evaluated.options[1])
    counts = cases[["tp", "fp", "fn", "tn"]]
    assert (counts.sum(axis=1) == size * size).all()
    assert summary["cases"] == len(cases) == len(list((folder / "overlays").rglob("*.png")))
    lesions = cases[cases["tp"] + cases["fn"] > 0]
    dice = 2 * lesions["tp"] / (2 * lesions["tp"] + lesions["fp"] + lesions["fn"])
    assert np.allclose(lesions["dice"], dice, atol=1e-6)
    assert summary["lesion_only"]["dice"]["mean"] == pytest.approx(dice.mean(), abs=1e-6)
    right = (counts["tp"] + counts["tn"]).sum() / counts.to_numpy().sum()
    assert summary["pooled"]["accuracy"]["value"] == pytest.approx(right, abs=1e-6)
    assert summary["provenance"]["overrides"]["image_size"] == size
    assert str(evaluated.out) not in json.dumps(summary)
    for _, row in cases.iterrows():
        truth, mask, probability = (
            np.asarray(Image.open(folder / kind / row["case_id"])) for kind in ("truths", "masks", "probabilities")
        )
        assert (truth > 0).sum() == row["tp"] + row["fn"]
        assert (mask > 0).sum() == row["tp"] + row["fp"]
        assert (probability[mask > 0] >= 127).all()
        explained = evaluated.name in CLASSIFY or (mask > 0).any()  # nothing to explain in an empty mask; a class is
        assert (folder / "gradcam" / row["case_id"]).is_file() == explained


def test_evaluation_scores_the_classes(evaluated):
    if evaluated.name not in CLASSIFY:
        assert evaluated.summary["classification"] is None
        return
    probabilities = evaluated.cases[[f"probability_{name}" for name in CLASSES]].to_numpy()
    assert np.allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    predicted = [CLASSES[index] for index in probabilities.argmax(axis=1)]
    assert list(evaluated.cases["predicted_class"]) == predicted
    right = np.mean(evaluated.cases["class"] == predicted)
    assert evaluated.summary["classification"]["accuracy"]["value"] == pytest.approx(right)
    assert all(row["case_id"].startswith(row["class"] + "/") for _, row in evaluated.cases.iterrows())


def test_inference_writes_what_the_evaluation_scored(evaluated, phantoms, tmp_path):
    given = ["--dataset_dir", phantoms, "--output_dir", tmp_path, "--ckpt_path", evaluated.model, *evaluated.options]
    switches = ["--gradcam", "True", "--panels", "True", "--probability", "True", "--min_lesion_pixels", 0]
    switches += ["--dataloader#batch_size", 4]
    bundle("inference", [config(evaluated.name, "inference")], *given, *switches)
    rows = pd.read_csv(tmp_path / "predictions.csv").set_index("case_id")
    assert len(rows) == 21
    for case_id, row in rows.iterrows():
        stem = tmp_path / case_id.removesuffix(".png")
        mask, probability, overlay, panels = (
            Image.open(f"{stem}_{kind}.png") for kind in ("mask", "probability", "overlay", "panels")
        )
        assert mask.size == probability.size == overlay.size == Image.open(phantoms / case_id).size
        assert (np.asarray(mask) > 0).sum() == row["lesion_pixels"]
        assert panels.width > 4 * mask.width and panels.height > mask.height
    for _, case in evaluated.cases.iterrows():  # the same network and images by another way
        for name in CLASSES if evaluated.name in CLASSIFY else ():
            key = f"probability_{name}"
            assert rows.loc[case["case_id"], key] == pytest.approx(case[key], abs=0.02)
    heats = {path.relative_to(tmp_path).as_posix().replace("_gradcam", "") for path in tmp_path.rglob("*_gradcam.png")}
    predicted = set(rows.index[rows["lesion_pixels"] > 0])
    assert heats == set(rows.index) if evaluated.name in CLASSIFY else heats <= predicted


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("hybrid", ["--fold", "2"], "were in the training set"),
        ("hybrid", ["--split_seed", "1"], "were in the"),
        ("hybrid", ["--image_size", "64"], "image_size was 32, is 64"),
        ("explainable", ["--model", "16"], "model was 15, is 16"),
        ("explainable", ["--part", "all"], "got 'all'"),
        # the weights fit both, so only the record of the training can tell
        ("mtl_oca", ["--network_def#classify_on", "object_context"], "network_def was"),
    ],
)
def test_evaluation_refuses_images_and_settings_other_than_the_training_s(trained, tmp_path, name, options, message):
    run = trained(name)
    configs = [*run.configs, config(name, "evaluate")]
    done = bundle("evaluating", configs, *run.given, "--evaluation_dir", tmp_path / "out", *options, check=False)
    assert done.returncode != 0
    assert message in done.stderr[done.stderr.rindex("The cause: ") :]
    assert not (tmp_path / "out").exists()


def test_scores_of_the_training_images_are_asked_for_by_name(trained):
    run = trained("explainable")
    done = bundle("evaluating", [*run.configs, config(run.name, "evaluate")], *run.given, "--part", "train")
    assert "TRAIN IMAGES" in done.stdout
    assert json.loads((run.out / "evaluation_train" / "summary.json").read_text())["part"] == "train"
