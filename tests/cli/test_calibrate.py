"""`hybrid-attention calibrate` on a run that was trained on phantoms, and its settings taken over by the bundle."""

import json
import shutil

import pandas as pd
import pytest
from hybrid_attention.cli import main
from PIL import Image

from tests.bundles.commands import bundle, config

KINDS = ["as is", "mirror", "all flips"]


def read(folder, name):
    return pd.read_csv(folder / f"{name}.csv")


def summary_of(folder):
    return json.loads((folder / "summary.json").read_text())


@pytest.fixture(scope="module")
def out(trained_run, phantoms, tmp_path_factory):
    folder = tmp_path_factory.mktemp("calibrate")
    assert main(["calibrate", f"tiny={trained_run}", "--dataset_dir", str(phantoms), "--out", str(folder)]) == 0
    return folder


def test_files(out):
    variants, cases, summary = read(out, "variants"), read(out, "cases"), summary_of(out)
    assert list(variants["variant"]) == KINDS
    images, lesions = summary["cases"]["test"]["images"], summary["cases"]["test"]["with_lesion"]
    assert len(cases) == 3 * images and lesions < images
    dice = cases.groupby("variant")["dice"]
    assert list(variants["test_dice_at_threshold"]) == pytest.approx(list(dice.mean()[KINDS]))
    assert set(dice.count()) == {lesions}
    assert (cases["member_dice"].isna() == (cases["variant"] == "as is")).all()
    text = (out / "summary.md").read_text()
    assert text.startswith("SYNTHETIC DATA") and "False-positive rate on normal images" in text
    with Image.open(out / "calibration.png") as figure:
        assert figure.width > 1000
    drawn = {path.relative_to(out / "uncertainty").as_posix() for path in (out / "uncertainty").rglob("*.png")}
    assert drawn == set(cases["case_id"])


def test_choices_rest_on_validation_and_the_bundle_takes_them_over(out, trained_run, phantoms, tmp_path):
    summary = summary_of(out)
    rows = {row["variant"]: row for row in summary["variants"]}
    best = rows[summary["best"]]
    assert best["validation_dice_at_threshold"] == max(row["validation_dice_at_threshold"] for row in rows.values())
    assert summary["plain"] == "as is" and rows["as is"]["difference"] == 0
    settings = json.loads((out / "inference_settings.json").read_text())
    assert set(settings) == {"threshold", "temperature", "flips"}
    assert summary["inference_settings"] == {"run": "tiny", "variant": summary["best"], **settings}
    flips = {"as is": [[]], "mirror": [[], [1]], "all flips": [[], [0], [1], [0, 1]]}
    assert settings["flips"] == flips[summary["best"]]

    # the bundle's own evaluation, with inference_settings.json over its config, finds the same scores
    configs = [config("hybrid", "train"), config("hybrid", "evaluate"), out / "inference_settings.json"]
    options = ["--dataset_dir", phantoms, "--output_dir", trained_run, "--evaluation_dir", tmp_path]
    network = json.dumps(json.loads((trained_run / "models" / "training.json").read_text())["recipe"]["network_def"])
    options += ["--image_size", 64, "--network_def", network, "--lesions_only", "False"]
    bundle("evaluating", configs, *options)
    evaluated = summary_of(tmp_path)
    assert evaluated["lesion_only"]["dice"]["mean"] == pytest.approx(best["test_dice_at_threshold"], abs=1e-4)
    assert evaluated["calibration"]["ece"] == pytest.approx(best["ece_scaled"], abs=1e-5)
    assert evaluated["decision"] == settings
    rate = best["false_positive_rate_without_lesion_at_threshold"]
    assert evaluated["false_positive_rate_without_lesion"] == pytest.approx(rate)


def test_an_ensemble_of_twins_is_the_run_itself(trained_run, phantoms, tmp_path):
    runs, out = [f"A={trained_run}", f"B={shutil.copytree(trained_run, tmp_path / 'twin')}"], tmp_path / "out"
    assert main(["calibrate", *runs, "--dataset_dir", str(phantoms), "--out", str(out)]) == 0
    rows = read(out, "variants").set_index("variant")
    assert list(rows.index) == [f"{who}: {kind}" for kind in KINDS for who in ("A", "B", "ensemble")]
    alone, together = (rows.loc[[f"{who}: {kind}" for kind in KINDS]] for who in ("A", "ensemble"))
    assert list(together["passes"]) == [2, 4, 8]
    for column in ("validation_dice", "test_dice", "ece"):
        # rounding of the means can move single pixels over a threshold
        assert list(together[column]) == pytest.approx(list(alone[column]), abs=1e-4)
    cases = read(out, "cases").query("variant == 'ensemble: as is' and predicted_pixels > 0")
    assert set(cases["member_dice"]) == {1} and cases["minus_disagreement"].abs().max() < 1e-5


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lesions_only": True}, "of them the same; an ensemble"),
        ({"image_size": 32}, "(32, 32) pixels, differ from those of tiny, (64, 64)"),
    ],
)
def test_members_that_do_not_fit(trained_run, edited_run, phantoms, tmp_path, settings, message, capsys):
    runs, out = [f"tiny={trained_run}", f"B={edited_run(**settings)}"], tmp_path / "out"
    assert main(["calibrate", *runs, "--dataset_dir", str(phantoms), "--out", str(out)]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("hybrid-attention: error: ") and message in error
    assert not (out / "variants.csv").exists()
