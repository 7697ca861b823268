import json
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from filelock import FileLock
from hybrid_attention.cli import main
from hybrid_attention.engines import check_overrides
from hybrid_attention.engines.command_line import command_line_options, config_files
from hybrid_attention.experiments import Run, collect, read_runs, run_all
from PIL import Image

from tests import fake_bundle
from tests.evaluation.drawn_runs import change_record, write_run

ROOT = Path(__file__).resolve().parents[1]
FROM_SCRATCH = "bundles/hybrid/configs/from_scratch.yaml"
FAILS = {"early_stop_patience": 7}
HANGS = {"epochs": 3, "batch_size": 1}  # after one more epoch
TABLES = ["history.csv", "per_case.csv", "roc.csv", "run.json", "summary.json"]


@pytest.fixture
def write_list(tmp_path):
    """Write a list of runs; the keys given replace those of a small one."""

    def write(**keys):
        content = {"name": "trial", "bundle": "hybrid", "options": {"epochs": 3}, "runs": [{"name": "han"}], **keys}
        path = tmp_path / "list.yaml"
        path.write_text(yaml.safe_dump({key: value for key, value in content.items() if value is not None}))
        return path

    return write


def write_images(folder, name="a", grey=10):
    """A data set of one image with its mask."""
    folder.mkdir()
    values = np.full((40, 40), grey, np.uint8)
    values[10:20, 10:30] = 255
    Image.fromarray(values).save(folder / f"{name}.png")
    Image.fromarray(np.where(values == 255, values, 0).astype(np.uint8)).save(folder / f"{name}_mask.png")
    return folder


@pytest.fixture
def images(tmp_path):
    return write_images(tmp_path / "images")


@pytest.fixture
def runs_of(write_list, tmp_path, images):
    """Read a list of runs whose results go to `runs`."""
    return lambda only=(), data=None, **keys: read_runs(
        write_list(**keys), tmp_path / "runs", only, [images] if data is None else data
    )


@pytest.fixture
def run_list(runs_of, monkeypatch):
    """Run a list with the fake bundle, or with other commands; returns the exit status."""

    def run(only=(), minutes=None, command=fake_bundle.command, data=None, **keys):
        monkeypatch.setattr(Run, "command", command)
        return run_all(runs_of(only, data, **keys), minutes)

    return run


def labels(runs):
    return [run.label for run in runs]


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def read(path):
    return json.loads(path.read_text())


def test_runs_are_spread_over_seeds_and_folds(runs_of, write_list, tmp_path):
    runs = [{"name": "han"}, {"name": "one", "folds": [3], "seeds": [7]}]
    expected = ["han/seed_0/fold_0", "han/seed_0/fold_1", "han/seed_5/fold_0", "han/seed_5/fold_1", "one/seed_7/fold_3"]
    assert labels(runs_of(folds=[0, 1], seeds=[0, 5], runs=runs)) == expected
    assert labels(runs_of(["one"], folds=[0, 1], runs=runs)) == ["one/seed_7/fold_3"]
    with pytest.raises(ValueError, match="no run c; its runs are han, one"):
        runs_of(["han", "c"], runs=runs)
    path = write_list(runs="two.yaml", folds=[0, 1], seeds=[0, 5])
    with pytest.raises(FileNotFoundError, match=r"two\.yaml"):
        read_runs(path, tmp_path)
    (tmp_path / "two.yaml").write_text(yaml.safe_dump({"runs": runs}))
    assert labels(read_runs(path, tmp_path)) == expected


def test_a_run_adds_options_and_replaces_the_rest(runs_of):
    own = {"name": "own", "options": {"epochs": 9, "batch_size": 2}, "configs": [], "parts": ["validation", "test"]}
    other = {"name": "other", "bundle": "explainable", "evaluation_options": {"gradcam": False}}
    own, other = runs_of(options={"epochs": 3, "image_size": 64}, configs=[FROM_SCRATCH], runs=[own, other])
    assert own.options == {"epochs": 9, "image_size": 64, "batch_size": 2}
    assert (own.configs, own.parts, own.epochs) == ([], ["validation", "test"], 9)
    assert other.options == {"epochs": 3, "image_size": 64}
    assert (other.configs, other.parts, other.epochs) == ([FROM_SCRATCH], ["test"], 3)
    assert (other.bundle, other.evaluation_options) == ("explainable", {"gradcam": False})


def run_with(**options):
    return {"runs": [{"name": "a", "options": options}]}


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        ({"option": {}}, "option"),
        ({"runs": [{"name": "a", "optoins": {}}]}, "optoins"),
        ({"runs": [{"name": "a"}, {"name": "b"}, {"name": "a"}]}, "more than one run named a"),
        ({"runs": []}, r"\[\]"),
        ({"runs": None}, "runs must be a list.* None"),
        ({"runs": [{"name": "../x"}]}, r"'\.\./x'"),
        ({"name": None}, "'name'"),
        ({"bundle": "hybird"}, "hybird"),
        ({"configs": ["bundles/no.yaml"]}, "bundles/no.yaml"),
        ({"configs": ["/etc/passwd"]}, "/etc/passwd"),
        ({"folds": [-1]}, r"folds\[0\].*-1"),
        ({"seeds": [0, 0]}, r"seeds.*\[0, 0\]"),
        ({"parts": ["tests"]}, "'tests'"),
        (run_with(epoch=3), "--epoch is not a key of the config; did you mean --epochs"),
        (run_with(**{"network_def#deep#er": 3}), "network_def#deep#er"),
        (run_with(gradcam=False), "gradcam"),  # of the training; it is an evaluation option
        (run_with(fold=1), "fold is set by the runner"),
        ({"evaluation_options": {"part": "train"}}, "part is set by the runner"),
        ({"evaluation_options": {"grad_cam": True}}, "grad_cam"),
        (run_with(epochs="$3"), r"epochs .* '\$3'"),
    ],
)
def test_faults_of_a_list(runs_of, keys, value):
    with pytest.raises(ValueError, match=value):
        runs_of(**keys)


@pytest.mark.parametrize("text", ["a: [", "name: a\nname: b\n", "- a", ""])
def test_not_a_list_of_runs(text, tmp_path):
    (tmp_path / "bad.yaml").write_text(text)
    with pytest.raises(ValueError, match=r"bad\.yaml"):
        read_runs(tmp_path / "bad.yaml", tmp_path)


def test_the_checkout_above_the_list_is_used(tmp_path, runs_of):
    configs = tmp_path / "bundles" / "tiny" / "configs"
    configs.mkdir(parents=True)
    places = "dataset_dir: null\noutput_dir: null\n"
    (configs / "train.yaml").write_text(places + "\n".join(f"{key}: 1" for key in ("fold", "seed", "resume", "epochs")))
    (configs / "evaluate.yaml").write_text("part: test\nrun: $@part\n")
    assert runs_of(bundle="tiny", options={"epochs": 2})[0].root == tmp_path
    with pytest.raises(ValueError, match=r"hybrid/configs/train\.yaml"):
        runs_of()


VALUES = [3, -0.5, True, "bf16", "imagenet", "None", "a b", "a,b", "-x", "$0.1 * @image_size", "it's", "x#y", [1, "a"]]
VALUES += ["é", {"_target_": "hybrid_attention.networks.PlainUNet", "channels": [16, 32], "w": "@encoder_weights"}]
VALUES += ["1", "True", {"deep": True, "text": 'a "b"'}, "1e-3", 1e-3]


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_values_of_options_come_through(runs_of, value):
    (run,) = runs_of()
    run.options["lr_schedule"] = value
    read_back = command_line_options(run.command("training"))
    assert (read_back["lr_schedule"], type(read_back["lr_schedule"])) == (value, type(value))


@pytest.mark.parametrize("place", ["out/a b", "2024,b", "a@b"])
@pytest.mark.parametrize("step", ["training", "test"])
def test_places_come_through(write_list, tmp_path, step, place, monkeypatch):
    (tmp_path / place).mkdir(parents=True)
    folders = [write_images(tmp_path / place / name, name, grey) for name, grey in (("one", 1), ("two", 2))]
    (run,) = read_runs(write_list(), tmp_path / place / "out", (), folders)
    words = run.command(step)[2:]
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "argv", words)
    check_overrides()
    options = command_line_options(words)
    assert (options["dataset_dir"], options["output_dir"]) == ([str(folder) for folder in folders], str(run.folder))


def test_options_of_training_and_evaluation(runs_of, images):
    options = {"epochs": 3, "encoder_weights": "/far/w.pth", "precision": "bf16", "groups_csv": None}
    keys = {"configs": [FROM_SCRATCH], "evaluation_options": {"gradcam": True}, "folds": [2], "seeds": [4]}
    (run,) = runs_of(options=options, **keys)
    words = run.command("training")
    assert words[4] == "training"
    assert [path.name for path in config_files(words)] == ["train.yaml", "from_scratch.yaml"]
    given = command_line_options(words)
    given.pop("config_file")
    shared = {"dataset_dir": str(images), "output_dir": str(run.folder), "fold": 2, "seed": 4, "groups_csv": "$None"}
    assert given == {**options, **shared, "resume": True}
    words = run.command("validation")
    assert words[4] == "evaluating"
    assert [path.name for path in config_files(words)] == ["train.yaml", "from_scratch.yaml", "evaluate.yaml"]
    given = command_line_options(words)
    assert given.pop("config_file")
    # evaluate.yaml sets encoder_weights: the trained weights include the encoder
    assert given == {**shared, "epochs": 3, "precision": "bf16", "part": "validation", "gradcam": True}


def test_a_run_from_start_to_end(run_list, tmp_path, capsys):
    assert run_list(parts=["test", "validation"], folds=[2]) == 0
    folder = tmp_path / "runs/trial/han/seed_0/fold_2"
    record = read(folder / "run.json")
    definition = {"bundle": "hybrid", "configs": [], "options": {"epochs": 3}, "evaluation_options": {}}
    assert record["definition"].pop("data").startswith("1 image, SHA-256 ")
    assert record["definition"] == {**definition, "fold": 2, "seed": 0}
    assert record["finished"]["training"] == 6.0
    assert set(record["finished"]) == {"training", "test", "validation"}
    assert re.findall("^this is (.*)", (folder / "log.txt").read_text(), re.M) == ["training", "test", "validation"]
    assert "1 of 1 runs are done, 0 failed" in capsys.readouterr().out
    assert run_list(parts=["test", "train"], folds=[2]) == 0  # one part more
    assert (folder / "log.txt").read_text().count("this is training") == 1
    assert set(read(folder / "run.json")["finished"]) == {"training", "test", "validation", "train"}


def test_a_failure_stops_no_other_and_is_tried_again(run_list, tmp_path, capsys):
    runs = [{"name": "bad", "options": FAILS}, {"name": "good"}]
    assert run_list(runs=runs) == 1
    output = capsys.readouterr().out
    reason = "training: exit status 1: The cause: ValueError: no luck"
    assert f"failed bad/seed_0/fold_0: {reason}" in output
    assert "1 of 2 runs are done, 1 failed" in output
    folder = tmp_path / "runs/trial/bad/seed_0/fold_0"
    assert read(folder / "run.json")["failure"] == reason
    assert run_list(runs=runs) == 1
    assert (folder / "log.txt").read_text().count("first line") == 2


@pytest.mark.parametrize(
    ("code", "message"), [("pass", r"training\.json"), ("import os; os.kill(os.getpid(), 9)", "exit status -9")]
)
def test_a_step_without_results_has_failed(run_list, runs_of, capsys, code, message):
    assert run_list(command=lambda *_: ["python", "-c", code]) == 1
    assert re.search(f"failed han/seed_0/fold_0: .*{message}", capsys.readouterr().out)
    assert runs_of(options={"epochs": 9})[0].progress() == "failed"  # before its first epoch it may change


RUNNER = """if True:
    import signal, sys
    from hybrid_attention.experiments import Run, read_runs, run_all
    signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background it is ignored
    path, folder, code = sys.argv[1:]
    Run.command = lambda *_: ["python", "-c", code]
    sys.exit(run_all(read_runs(path, folder, (), [folder + "/images"])))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_training_too(write_list, tmp_path, images, number):
    """In a process of its own: a signal that comes at the wrong time would end the tests."""
    beats = tmp_path / "beats"
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    code += f"while True: open({str(beats)!r}, 'a').write('.'); time.sleep(0.05)"
    words = [sys.executable, "-c", RUNNER, str(write_list()), str(tmp_path), code]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as runner:
        while runner.poll() is None and not beats.is_file():
            time.sleep(0.1)
        runner.send_signal(number)
        output = runner.communicate()[0]
    assert runner.returncode == 3
    assert "stopped: call again to continue" in output
    heard = beats.read_text()
    time.sleep(1)
    assert beats.read_text() == heard


def test_what_is_not_run(run_list, runs_of, tmp_path, capsys):
    runs = [{"name": "a"}, {"name": "b"}]
    with pytest.raises(ValueError, match="give read_runs a dataset_dir"):
        run_list(runs=runs, data=[])
    with pytest.raises(ValueError, match=r"--minutes .* 0"):
        run_list(runs=runs, minutes=0)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        runs_of(data=[tmp_path / "nowhere"])
    assert not (tmp_path / "runs").exists()
    folder = tmp_path / "runs/trial/a/seed_0/fold_0"
    folder.mkdir(parents=True)
    with FileLock(folder / ".lock"):
        assert run_list(runs=runs) == 3
    output = capsys.readouterr().out
    assert "skip   a/seed_0/fold_0" in output and "done   b/seed_0/fold_0" in output
    assert run_list(runs=runs) == 0


def test_what_has_begun_must_not_change(run_list, runs_of, tmp_path, images):
    same = {"bundle": "hybrid_lite", "options": {"epochs": 3, "progressive_sizes": {1: 64, 2: 96}}}
    other = write_images(tmp_path / "other", "b", grey=90)
    assert run_list(data=[images, other], **same) == 0
    assert runs_of(data=[], **same)[0].progress() == "done"  # to collect
    images = images.rename(tmp_path / "elsewhere")
    assert runs_of(data=[other, images], **same)[0].steps_left() == []  # the order of the folders is free
    with pytest.raises(ValueError, match=r"han/seed_0/fold_0: data was '2 images, SHA-256 \w+', is '1 image, "):
        runs_of(data=[other], **same)
    with pytest.raises(ValueError) as raised:
        runs_of(data=[other, images], **same | {"options": {"epochs": 4, "image_size": 64}})
    changes = [line.split("fold_0: ")[1] for line in str(raised.value).splitlines()[1:]]
    assert changes[:2] == ["options.epochs was 3, is 4", "options.image_size was None, is 64"]


def test_what_is_left_is_shown(run_list, write_list, tmp_path, images, capsys):
    runs = [{"name": "half", "options": {"epochs": 4, "batch_size": 2}}, {"name": "done"}, {"name": "new"}]
    runs += [{"name": "bad", "options": FAILS}]
    words = ["experiments", str(write_list(runs=runs)), "--dataset_dir", str(images), "--out", str(tmp_path / "runs")]
    assert main([*words, "--dry_run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "half/seed_0/fold_0: to do, 0 of 4 epochs"
    assert [line.split()[4] for line in lines[1:3]] == ["training", "evaluating"]
    assert f"--output_dir {tmp_path}/runs/trial/half/seed_0/fold_0" in lines[1]
    assert not (tmp_path / "runs").exists()
    assert [run_list(runs=runs, only=[name]) for name in ("done", "bad")] == [0, 1]
    assert run_list(runs=runs, only=["half"], minutes=4 / 60) == 3
    capsys.readouterr()
    assert main([*words, "--dry_run"]) == 0
    assert [line for line in capsys.readouterr().out.splitlines()[:-1] if not line.startswith(" ")] == [
        "half/seed_0/fold_0: part, 2 of 4 epochs, about 0:00:04 left",  # of 2 seconds
        "done/seed_0/fold_0: done, 3 of 3 epochs",
        "new/seed_0/fold_0: to do, 0 of 3 epochs, about 0:00:06 left",
        "bad/seed_0/fold_0: failed, 3 of 3 epochs, about 0:00:00 left",
    ]
    assert run_list(runs=runs, only=["half"]) == 0
    record = read(tmp_path / "runs/trial/half/seed_0/fold_0/run.json")
    assert record["finished"]["training"] == 8.0  # of both calls


def collected(runs, tmp_path):
    results = tmp_path / "results"
    return [path.relative_to(results / "trial").as_posix() for path in collect(runs, results)]


def test_one_fold_lies_in_the_runs_folder(run_list, runs_of, tmp_path):
    keys = {"runs": [{"name": "a"}, {"name": "b"}], "parts": ["test", "validation"]}
    assert collected(runs_of(**keys), tmp_path) == []
    assert run_list(only=["a"], **keys) == 0
    assert collected(runs_of(**keys), tmp_path) == ["a"]
    assert names(tmp_path / "results/trial/a") == [*TABLES, "summary_validation.json"]
    assert '"part": "validation"' in (tmp_path / "results/trial/a/summary_validation.json").read_text()
    assert names(tmp_path / "results/trial") == ["a"]
    evaluation = tmp_path / "runs/trial/a/seed_0/fold_0/evaluation"
    (evaluation / "attention.csv").write_text("map\n")
    for _ in range(2):
        collected(runs_of(runs=keys["runs"]), tmp_path)
        # those of the earlier collection are gone, but for a table that may be of another evaluation
        assert names(tmp_path / "results/trial/a") == ["attention.csv", *TABLES]
        (evaluation / "attention.csv").unlink(missing_ok=True)


def test_folds_and_seeds_are_collected_and_compared(run_list, runs_of, write_list, tmp_path, capsys):
    keys = {"folds": [0, 1]}
    keys["runs"] = [{"name": "a"}, {"name": "b", "seeds": [4, 5], "folds": [0]}, {"name": "c", "parts": ["train"]}]
    assert run_list(**keys) == 0

    def evaluate(run, fold, part="test", epochs=3):
        """An evaluation of drawn discs, which can be merged."""
        folder = tmp_path / f"runs/trial/{run}/fold_{fold}" / ("evaluation" if part == "test" else f"evaluation_{part}")
        shutil.rmtree(folder)
        write_run(folder, 6, 1.0, size=32, pictures=False, epochs=epochs, fold=fold)
        change_record(folder, weights_sha256=f"{run} {fold}", part=part)

    evaluate("a/seed_0", 0), evaluate("a/seed_0", 1, epochs=9), evaluate("b/seed_4", 0), evaluate("b/seed_5", 0)
    evaluate("c/seed_0", 0, "train"), evaluate("c/seed_0", 1, "train")
    words = ["experiments", str(write_list(**keys)), "--out", str(tmp_path / "runs")]
    words += ["--collect", str(tmp_path / "results"), "--report", str(tmp_path / "pages")]
    assert main(words) == 1
    assert re.search(r"\n  a: .*epochs", capsys.readouterr().err)  # the others are written
    results, page = tmp_path / "results/trial", tmp_path / "pages/trial/report.html"
    assert names(results) == ["b", "c"] and page.is_file()
    evaluate("a/seed_0", 1)
    assert main(words) == 0
    text = page.read_text()
    for name, compared in {"a": True, "b seed_4": True, "b seed_5": True, "c": False}.items():  # parts differ
        assert (f'"name":"{name}"' in text) == compared
    assert names(results / "a") == ["calibration.csv", "fold_0", "fold_1", "per_case.csv", "summary.json"]
    assert len(pd.read_csv(results / "a/per_case.csv")) == 12
    assert names(results / "b/seed_5") == ["calibration.csv", *TABLES]
    assert read(results / "c/fold_0/summary.json")["part"] == "train"  # the first part
    expected = ["a", "a/fold_0", "a/fold_1", "c", "c/fold_0", "c/fold_1", "b/seed_4", "b/seed_5"]
    assert collected(runs_of(**keys), tmp_path) == expected
    assert collected(runs_of(folds=[0, 3], runs=keys["runs"][:1]), tmp_path) == ["a"]  # one of two folds is done
    assert names(results / "a") == ["calibration.csv", "fold_0", "fold_1", *TABLES]
