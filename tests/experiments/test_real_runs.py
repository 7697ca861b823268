"""Lists of runs on phantoms, with the bundles themselves."""

import csv
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hybrid_attention.cli import main

ROOT = Path(__file__).resolve().parents[2]
CALL = "import sys; from hybrid_attention.cli import main; sys.exit(main(sys.argv[1:]))"


def history(folder):
    with open(folder / "history.csv", newline="") as file:
        return [{**row, "seconds": None} for row in csv.DictReader(file)]


@pytest.mark.slow
def test_ended_and_resumed_is_the_same_as_never_ended(write_list, phantoms, tmp_path, capsys):
    network = {"_target_": "hybrid_attention.networks.PlainUNet", "channels": [4, 8]}
    options = {"image_size": 32, "batch_size": 2, "epochs": 8, "network_def": network}
    path = write_list(options=options, configs=["bundles/hybrid/configs/from_scratch.yaml"])

    def words(out):
        return [
            "experiments",
            str(path),
            "--dataset_dir",
            str(phantoms),
            "--out",
            str(tmp_path / out),
            "--threads",
            "1",
        ]

    ended, whole = (tmp_path / out / "trial/han/seed_0/fold_0" for out in ("ended", "whole"))
    runner = subprocess.Popen([sys.executable, "-c", CALL, *words("ended")], cwd=ROOT)
    end = time.monotonic() + 120
    while not (ended / "models" / "checkpoint.pt").is_file():
        assert time.monotonic() < end and runner.poll() is None
        time.sleep(0.01)
    runner.terminate()
    assert runner.wait() == 3
    epochs = len(history(ended))
    assert epochs < 8
    assert main(words("ended")) == 0
    assert "resumed after epoch" in (ended / "log.txt").read_text()
    assert main(words("whole")) == 0
    assert history(ended) == history(whole)
    assert len(history(whole)) == 8
    manifests = [json.loads((folder / "manifest.json").read_text()) for folder in (ended, whole)]
    assert len({manifest["evaluation"]["test"]["weights_sha256"] for manifest in manifests}) == 1
    assert (ended / "evaluation/per_case.csv").read_text() == (whole / "evaluation/per_case.csv").read_text()
    results = tmp_path / "results"
    assert main(["experiments", str(path), "--out", str(tmp_path / "whole"), "--collect", str(results)]) == 0
    assert (results / "trial/han/per_case.csv").read_text() == (whole / "evaluation/per_case.csv").read_text()
