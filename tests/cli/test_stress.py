"""`hybrid-attention stress` on a network that was trained on phantoms."""

import csv
import json
import shutil

import pytest
from hybrid_attention.cli import main
from PIL import Image

from tests.bundles.commands import bundle, config

NETWORK = "{'_target_': 'hybrid_attention.networks.baselines.residual_unet', 'channels': [4, 8, 16]}"
FILES = ("stress.csv", "summary.json", "summary.md")


@pytest.fixture(scope="module")
def trained(phantoms, tmp_path_factory):
    """A run in the folders of `hybrid-attention experiments`."""
    out = tmp_path_factory.mktemp("runs") / "tiny" / "seed_0" / "fold_0"
    options = ["--image_size", 64, "--batch_size", 4, "--epochs", 2, "--learning_rate", 0.01, "--network_def", NETWORK]
    options += ["--lesions_only", False]
    bundle("training", [config("hybrid", "train")], "--dataset_dir", phantoms, "--output_dir", out, *options)
    bundle(
        "evaluating",
        [config("hybrid", name) for name in ("train", "evaluate")],
        *("--dataset_dir", phantoms, "--output_dir", out, *options),
    )
    return out


def rows_of(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_stress(trained, phantoms, tmp_path, capsys):
    out = tmp_path / "out"
    again = trained.parents[1] / "seed_1" / "fold_0"
    shutil.copytree(trained, again)
    words = ["stress", str(trained), str(again), "--dataset_dir", str(phantoms), "--out", str(out)]
    assert main([*words, "--kinds", "text", "gain", "--seed", "1"]) == 0
    assert f"tables and figures: {out}" in capsys.readouterr().out
    names = ("examples.png", "stress.png", *(f"{run}/{file}" for run in ("seed_0", "seed_1") for file in FILES))
    assert sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()) == sorted(names)
    for name in names[:2]:
        Image.open(out / name).verify()

    rows = rows_of(out / "seed_0" / "stress.csv")
    clean = {row["case_id"]: row for row in rows if row["kind"] == "clean"}
    evaluated = {row["case_id"]: row for row in rows_of(trained / "evaluation" / "per_case.csv")}
    assert set(clean) == set(evaluated) and len(rows) == 11 * len(clean)
    for case, row in clean.items():
        for column in ("class", "group", "tp", "fp", "fn", "tn", "dice"):
            assert row[column] == evaluated[case][column]
    changed = [row for row in rows if any(row[name] != clean[row["case_id"]][name] for name in ("tp", "fp"))]
    assert {row["kind"] for row in changed} == {"text", "gain"}

    summary = json.loads((out / "seed_0" / "summary.json").read_text())
    record = json.loads((trained / "models" / "training.json").read_text())
    assert summary["weights_sha256"] == record["weights_sha256"]
    assert (summary["part"], summary["seed"], summary["synthetic_data"]) == ("test", 1, True)
    assert summary["training"]["recipe"]["image_size"] == 64
    assert summary["clean"]["false_positive_rate_without_lesion"] is not None  # the split holds normal images
    assert (out / "seed_1" / "stress.csv").read_text() == (out / "seed_0" / "stress.csv").read_text()


@pytest.mark.parametrize("name", ["a/../..", "/a"])
def test_a_name_that_cannot_name_a_folder(trained, phantoms, tmp_path, name, capsys):
    out = tmp_path / "out"
    assert main(["stress", f"{name}={trained}", "--dataset_dir", str(phantoms), "--out", str(out)]) == 1
    assert f"where NAME can name a folder, got {name!r}" in capsys.readouterr().err
    assert not out.exists()


def test_errors_come_before_the_work(trained, phantoms, tmp_path, capsys):
    words = ["stress", str(trained), "--dataset_dir", str(phantoms), "--out", str(tmp_path / "out")]
    assert main([*words, "--kinds", "haze"]) == 1
    assert "error: kinds must be some of speckle" in capsys.readouterr().err
    shutil.copytree(trained, tmp_path / "copy")
    (tmp_path / "copy" / "models" / "training.json").unlink()
    assert main(["stress", str(tmp_path / "copy"), *words[2:]]) == 1
    assert "has no record of its training" in capsys.readouterr().err
    assert main(["stress", f"HAN={trained / 'evaluation'}", *words[2:]]) == 1
    assert f"which is an evaluation; use the folder of the run, {trained}\n" in capsys.readouterr().err
    assert main([*words, "--seed", "-1"]) == 1
    assert "seed must be an integer of at least 0, got -1" in capsys.readouterr().err


def test_runs_of_other_splits_are_not_compared(trained, phantoms, tmp_path, capsys):
    shutil.copytree(trained, tmp_path / "other")
    path = tmp_path / "other" / "models" / "training.json"
    record = json.loads(path.read_text())
    record["recipe"]["lesions_only"] = True  # fewer test images
    path.write_text(json.dumps(record))
    words = ["stress", f"tiny={trained}", f"other={tmp_path / 'other'}", "--dataset_dir", str(phantoms), "--out"]
    assert main([*words, str(tmp_path / "out")]) == 1
    assert "other and tiny have different test images" in capsys.readouterr().err
