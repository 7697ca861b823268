"""`hybrid-attention calibrate` on a run that was trained on phantoms, and its settings taken over by the bundle."""

import csv
import json
import math
import shutil

import pytest
from hybrid_attention.cli import main
from PIL import Image

from tests.bundles.commands import bundle, config

NETWORK = "{'_target_': 'hybrid_attention.networks.baselines.residual_unet', 'channels': [4, 8, 16]}"
TRAIN, EVALUATE, INFERENCE = (config("hybrid", name) for name in ("train", "evaluate", "inference"))
SEEN = ["--image_size", 64, "--network_def", NETWORK]
KINDS = ("as is", "mirror", "all flips")


def rows_of(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def trained(phantoms, tmp_path_factory):
    """A tiny network after two epochs, images without lesion included."""
    out = tmp_path_factory.mktemp("runs") / "tiny"
    options = ["--dataset_dir", phantoms, "--output_dir", out, *SEEN, "--lesions_only", "False", "--batch_size", 4]
    bundle("training", [TRAIN], *options, "--epochs", 2, "--learning_rate", 0.01)
    return out


@pytest.fixture(scope="module")
def out(trained, phantoms, tmp_path_factory):
    folder = tmp_path_factory.mktemp("calibrate")
    assert main(["calibrate", str(trained), "--dataset_dir", str(phantoms), "--out", str(folder)]) == 0
    return folder


def test_files(out):
    variants, cases = rows_of(out / "variants.csv"), rows_of(out / "cases.csv")
    summary = json.loads((out / "summary.json").read_text())
    assert [row["variant"] for row in variants] == list(KINDS)
    assert [row["passes"] for row in variants] == ["1", "2", "4"]
    assert all(float(row["seconds_per_image"]) > 0 for row in variants)
    images = summary["cases"]["test"]["images"]
    assert len(cases) == 3 * images and summary["cases"]["test"]["with_lesion"] < images
    for name in KINDS:
        dice = [float(row["dice"]) for row in cases if row["variant"] == name and not math.isnan(float(row["dice"]))]
        row = next(row for row in variants if row["variant"] == name)
        assert float(row["test_dice_at_threshold"]) == pytest.approx(sum(dice) / len(dice))
        assert len(dice) == summary["cases"]["test"]["with_lesion"]
        assert 0 <= float(row["false_positive_rate_without_lesion"]) <= 1
    assert all((row["member_dice"] == "nan") == (row["variant"] == "as is") for row in cases)
    curve = rows_of(out / "risk_coverage.csv")
    assert {row["order"] for row in curve} >= {"expected_dice", "minus_entropy", "perfect", "random"}
    text = (out / "summary.md").read_text()
    assert text.startswith("SYNTHETIC DATA") and "False-positive rate on normal images" in text
    with Image.open(out / "calibration.png") as figure:
        assert figure.width > 1000
    assert len(list((out / "uncertainty").rglob("*.png"))) == images


def test_choices_rest_on_validation(out):
    summary = json.loads((out / "summary.json").read_text())
    validation = {row["variant"]: row["validation_dice_at_threshold"] for row in summary["variants"]}
    assert validation[summary["best"]] == max(validation.values())
    assert summary["plain"] == "as is"
    plain = next(row for row in summary["variants"] if row["variant"] == "as is")
    assert plain["difference"] == plain["difference_low"] == plain["difference_high"] == 0
    settings = json.loads((out / "inference_settings.json").read_text())
    assert set(settings) == {"threshold", "temperature", "flips"}
    assert summary["inference_settings"] == {"run": "tiny", "variant": summary["best"], **settings}
    flips = {"as is": [[]], "mirror": [[], [1]], "all flips": [[], [0], [1], [0, 1]]}
    assert settings["flips"] == flips[summary["best"]]


def test_evaluation_takes_the_settings_over(out, trained, phantoms, tmp_path):
    """The bundle's own evaluation, with inference_settings.json over its config, finds the same scores."""
    options = ["--dataset_dir", phantoms, "--output_dir", trained, "--evaluation_dir", tmp_path, *SEEN]
    bundle("evaluating", [TRAIN, EVALUATE, out / "inference_settings.json"], *options, "--lesions_only", "False")
    evaluated = json.loads((tmp_path / "summary.json").read_text())
    summary = json.loads((out / "summary.json").read_text())
    row = next(row for row in summary["variants"] if row["variant"] == summary["inference_settings"]["variant"])
    assert evaluated["lesion_only"]["dice"]["mean"] == pytest.approx(row["test_dice_at_threshold"], abs=1e-4)
    assert evaluated["calibration"]["ece"] == pytest.approx(row["ece_scaled"], abs=1e-5)
    assert evaluated["decision"] == json.loads((out / "inference_settings.json").read_text())
    rate = evaluated["false_positive_rate_without_lesion"]
    assert rate == pytest.approx(row["false_positive_rate_without_lesion_at_threshold"])


def test_an_ensemble_of_twins_is_the_run_itself(trained, phantoms, tmp_path):
    twin = shutil.copytree(trained, tmp_path / "twin")
    words = ["calibrate", f"A={trained}", f"B={twin}", "--dataset_dir", str(phantoms), "--out", str(tmp_path / "out")]
    assert main(words) == 0
    rows = {row["variant"]: row for row in rows_of(tmp_path / "out" / "variants.csv")}
    assert list(rows) == [f"{who}: {kind}" for kind in KINDS for who in ("A", "B", "ensemble")]
    for kind in KINDS:
        alone, together = rows[f"A: {kind}"], rows[f"ensemble: {kind}"]
        assert int(together["passes"]) == 2 * int(alone["passes"])
        for column in ("validation_dice", "test_dice", "ece"):
            # rounding of the means can move single pixels over a threshold
            assert float(together[column]) == pytest.approx(float(alone[column]), abs=1e-4)
    for row in rows_of(tmp_path / "out" / "cases.csv"):
        if row["variant"] == "ensemble: as is" and int(row["predicted_pixels"]):
            assert float(row["member_dice"]) == 1 and float(row["minus_disagreement"]) == pytest.approx(0, abs=1e-5)


def edited(trained, folder, **settings):
    """A copy of a run whose record says that it was trained otherwise."""
    shutil.copytree(trained, folder)
    path = folder / "models" / "training.json"
    record = json.loads(path.read_text())
    record["recipe"].update(settings)
    path.write_text(json.dumps(record))
    return folder


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"fold": 1}, "were in the"),
        ({"lesions_only": True}, "of them the same; an ensemble"),
        ({"image_size": 32}, "(32, 32) pixels, differ from those of tiny, (64, 64)"),
    ],
)
def test_members_that_do_not_fit(trained, phantoms, tmp_path, settings, message, capsys):
    other = edited(trained, tmp_path / "other", **settings)
    words = ["calibrate", f"tiny={trained}", f"B={other}", "--dataset_dir", str(phantoms), "--out", str(tmp_path / "o")]
    assert main(words) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("hybrid-attention: error: ") and message in error
    assert not (tmp_path / "o" / "variants.csv").exists()


@pytest.mark.parametrize(
    ("words", "name"), [(["reliability", "run"], "calibrate"), (["predict", "--decision=x"], "--inference_settings")]
)
def test_earlier_names_lead_to_the_new(words, name, capsys):
    with pytest.raises(SystemExit):
        main(words)
    assert f"is now called {name}" in capsys.readouterr().err
