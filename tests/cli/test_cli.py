import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hybrid_attention.cli import main
from hybrid_attention.phantoms.dataset import is_synthetic
from PIL import Image


def test_phantoms(tmp_path, capsys):
    assert main(["phantoms", str(tmp_path / "p"), "--benign", "2", "--malignant", "1", "--normal", "1"]) == 0
    assert is_synthetic(tmp_path / "p")
    assert len(list((tmp_path / "p").rglob("*_mask.png"))) >= 4
    assert "4 synthetic images" in capsys.readouterr().out


def test_phantoms_of_one_size(tmp_path):
    counts = ["--benign", "1", "--malignant", "0", "--normal", "0"]
    assert main(["phantoms", str(tmp_path / "p"), *counts, "--size", "64", "80", "--echogenicity", "mixed"]) == 0
    assert "echogenicity of the lesions: mixed" in (tmp_path / "p" / "SYNTHETIC.txt").read_text()
    assert Image.open(tmp_path / "p" / "benign" / "benign (1).png").size == (80, 64)  # width and height


def test_splits(phantoms, tmp_path, capsys):
    out = tmp_path / "split.csv"
    assert main(["splits", str(phantoms), "--out", str(out), "--all-classes", "--num-folds", "4", "--fold", "1"]) == 0
    with open(out, newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 21
    assert {row["part"] for row in rows} == {"train", "validation", "test"}
    assert "test fold 1 of 4, validation fold 2, all classes" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["splits", "nowhere", "--out", "x.csv"], "hybrid-attention: error: data folder nowhere does not exist"),
        (["phantoms", "."], "hybrid-attention: error: "),
    ],
)
def test_errors_are_one_line(words, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Image.new("L", (4, 4)).save(tmp_path / "mine.png")
    assert main(words) == 1
    assert capsys.readouterr().err.startswith(message)
    assert (tmp_path / "mine.png").exists()


LIST = "name: trial\nbundle: hybrid\nruns:\n  - name: han\n"


def test_experiments_without_images(tmp_path, capsys):
    (tmp_path / "list.yaml").write_text(LIST)
    words = ["experiments", str(tmp_path / "list.yaml"), "--out", str(tmp_path / "runs")]
    assert main(words) == 1
    assert "--dataset_dir is missing" in capsys.readouterr().err
    assert main([*words, "--collect", str(tmp_path / "results")]) == 0
    assert capsys.readouterr().out == ""  # nothing is finished
    assert main([*words, "--collect", str(tmp_path / "results"), "--dry_run"]) == 1
    assert "--dry_run" in capsys.readouterr().err
    assert main([*words, "--only", "hen", "--dry-run"]) == 1
    assert "no run hen; its runs are han" in capsys.readouterr().err


def test_experiments(phantoms, tmp_path, capsys, monkeypatch):
    (tmp_path / "list.yaml").write_text(LIST)
    words = [
        "experiments",
        str(tmp_path / "list.yaml"),
        "--dataset_dir",
        str(phantoms),
        "--out",
        str(tmp_path / "runs"),
    ]
    assert main([*words, "--dry_run"]) == 0
    assert "han/seed_0/fold_0: to do" in capsys.readouterr().out
    assert not (tmp_path / "runs").exists()
    monkeypatch.setattr("hybrid_attention.experiments.run_all", lambda *_: 3)
    assert main(words) == 3


def test_merge(tmp_path):
    results = Path(__file__).resolve().parents[2] / "docs" / "results" / "improved_folds_128" / "flexible_unet"
    folds = [str(results / f"fold_{fold}") for fold in (1, 0)]
    assert main(["merge", *folds, "--out", str(tmp_path / "both")]) == 0
    assert json.loads((tmp_path / "both" / "summary.json").read_text())["folds"]["merged"] == [0, 1]
    assert main(["merge", folds[0], folds[0], "--out", str(tmp_path / "twice")]) == 1
    assert not (tmp_path / "twice").exists()


def test_a_terminal_that_cannot_print_a_name_changes_nothing(tmp_path):
    (tmp_path / "l\u00e9sion").mkdir()
    command = [sys.executable, "-m", "hybrid_attention", "phantoms", str(tmp_path / "l\u00e9sion" / "set")]
    words = ["--benign", "1", "--malignant", "1", "--normal", "0", "--size", "64", "64"]
    done = subprocess.run(
        [*command, *words], env={**os.environ, "PYTHONIOENCODING": "ascii"}, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert rb"l\xe9sion" in done.stdout
