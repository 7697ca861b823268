"""`hybrid-attention stress` on a network that was trained on phantoms."""

import json
import shutil

import pandas as pd
from hybrid_attention.cli import main
from PIL import Image

FILES = ("stress.csv", "summary.json", "summary.md")


def test_stress(trained_run, phantoms, tmp_path, capsys):
    out = tmp_path / "out"
    runs = [f"seed_0={trained_run}", f"seed_1={shutil.copytree(trained_run, tmp_path / 'again')}"]
    words = ["stress", *runs, "--dataset_dir", str(phantoms), "--out", str(out)]
    assert main([*words, "--kinds", "text", "gain", "--seed", "1"]) == 0
    assert f"tables and figures: {out}" in capsys.readouterr().out
    names = ("examples.png", "stress.png", *(f"{run}/{file}" for run in ("seed_0", "seed_1") for file in FILES))
    assert sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()) == sorted(names)
    for name in names[:2]:
        Image.open(out / name).verify()

    rows = pd.read_csv(out / "seed_0" / "stress.csv", dtype=str).set_index("case_id")
    clean = rows[rows["kind"] == "clean"]
    evaluated = pd.read_csv(trained_run / "evaluation" / "per_case.csv", dtype=str).set_index("case_id")
    columns = ["class", "group", "tp", "fp", "fn", "tn", "dice"]
    assert len(rows) == 11 * len(clean)
    pd.testing.assert_frame_equal(clean[columns].sort_index(), evaluated[columns].sort_index())
    changed = (rows[["tp", "fp"]] != clean.loc[rows.index, ["tp", "fp"]].to_numpy()).any(axis=1)
    assert set(rows["kind"][changed]) == {"text", "gain"}

    summary = json.loads((out / "seed_0" / "summary.json").read_text())
    record = json.loads((trained_run / "models" / "training.json").read_text())
    assert summary["weights_sha256"] == record["weights_sha256"]
    assert (summary["part"], summary["seed"], summary["synthetic_data"]) == ("test", 1, True)
    assert summary["training"]["recipe"]["image_size"] == 64
    assert summary["clean"]["false_positive_rate_without_lesion"] is not None  # the split holds normal images
    assert (out / "seed_1" / "stress.csv").read_text() == (out / "seed_0" / "stress.csv").read_text()


def test_errors_come_before_the_work(trained_run, edited_run, phantoms, tmp_path, capsys):
    def refused(message, run, *more):
        words = ["stress", run, *more, "--dataset_dir", str(phantoms), "--out", str(tmp_path / "out")]
        assert main(words) == 1 and message in capsys.readouterr().err

    for name in ("a/../..", "/a"):
        refused(f"where NAME can name a folder, got {name!r}", f"{name}={trained_run}")
    assert not (tmp_path / "out").exists()
    refused("error: kinds must be some of speckle", str(trained_run), "--kinds", "haze")
    refused("use the folder of the run, " + str(trained_run), f"HAN={trained_run / 'evaluation'}")
    refused("other and tiny have different test", f"tiny={trained_run}", f"other={edited_run(lesions_only=True)}")
