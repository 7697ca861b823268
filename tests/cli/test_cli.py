import json
import os
import subprocess
import sys

import pandas as pd
import pytest
from hybrid_attention.cli import main
from hybrid_attention.phantoms.dataset import is_synthetic
from PIL import Image

from tests.scripts.load import RESULTS


def test_phantoms(tmp_path, capsys):
    words = ["phantoms", str(tmp_path / "p"), "--benign", "1", "--malignant", "1", "--normal", "1"]
    assert main([*words, "--size", "64", "80", "--echogenicity", "mixed"]) == 0
    assert is_synthetic(tmp_path / "p")
    assert len(list((tmp_path / "p").rglob("*_mask.png"))) == 3
    assert "3 synthetic images" in capsys.readouterr().out
    assert "echogenicity of the lesions: mixed" in (tmp_path / "p" / "SYNTHETIC.txt").read_text()
    assert Image.open(tmp_path / "p" / "benign" / "benign (1).png").size == (80, 64)  # width and height


def test_splits(phantoms, tmp_path, capsys):
    out = tmp_path / "split.csv"
    assert main(["splits", str(phantoms), "--out", str(out), "--all-classes", "--num-folds", "4", "--fold", "1"]) == 0
    parts = pd.read_csv(out)["part"]
    assert len(parts) == 21 and set(parts) == {"train", "validation", "test"}
    assert "test fold 1 of 4, validation fold 2, all classes" in capsys.readouterr().out


def test_errors_are_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["splits", "nowhere", "--out", "x.csv"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("hybrid-attention: error: data folder nowhere does not exist") and error.count("\n") == 1
    (tmp_path / "mine.png").touch()
    assert main(["phantoms", "."]) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["mine.png"]


@pytest.mark.parametrize(
    ("words", "name"), [(["reliability", "run"], "calibrate"), (["predict", "--decision=x"], "--inference_settings")]
)
def test_earlier_names_lead_to_the_new(words, name, capsys):
    with pytest.raises(SystemExit):
        main(words)
    assert f"is now called {name}" in capsys.readouterr().err


def test_experiments(phantoms, tmp_path, capsys, monkeypatch):
    (tmp_path / "list.yaml").write_text("name: trial\nbundle: hybrid\nruns:\n  - name: han\n")
    words = ["experiments", str(tmp_path / "list.yaml"), "--out", str(tmp_path / "runs")]
    assert main(words) == 1
    assert "--dataset_dir is missing" in capsys.readouterr().err
    collected = [*words, "--collect", str(tmp_path / "results")]
    assert main(collected) == 0
    assert capsys.readouterr().out == ""  # nothing is finished
    assert main([*collected, "--dry_run"]) == 1
    assert "--dry_run" in capsys.readouterr().err
    assert main([*words, "--only", "hen", "--dry-run"]) == 1
    assert "no run hen; its runs are han" in capsys.readouterr().err
    monkeypatch.setattr("hybrid_attention.experiments.run_all", lambda *_: 3)
    assert main([*words, "--dataset_dir", str(phantoms)]) == 3


def test_merge(tmp_path):
    folds = [str(RESULTS / "improved_folds_128" / "flexible_unet" / f"fold_{fold}") for fold in (1, 0)]
    assert main(["merge", *folds, "--out", str(tmp_path / "both")]) == 0
    assert json.loads((tmp_path / "both" / "summary.json").read_text())["folds"]["merged"] == [0, 1]


def test_a_terminal_that_cannot_print_a_name_changes_nothing(tmp_path):
    folder = tmp_path / "l\u00e9sion"
    folder.mkdir()
    words = ["phantoms", folder / "set", "--benign", "1", "--malignant", "1", "--normal", "0", "--size", "64", "64"]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-m", "hybrid_attention", *words]
    done = subprocess.run(command, env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert rb"l\xe9sion" in done.stdout
