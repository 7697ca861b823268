import json
import os
import re
import signal
import threading
import time

import pytest
from filelock import FileLock
from hybrid_attention.experiments import Runner, overview, runner

from tests.experiments import fake_bundle

FAILS = {"early_stop_patience": 7}
HANGS = {"batch_size": 1}  # after one more epoch


def read(path):
    return json.loads(path.read_text())


def test_a_run_from_start_to_manifest(run_list, tmp_path, capsys):
    assert run_list(parts=["test", "validation"], folds=[2]) == 0
    folder = tmp_path / "runs/trial/han/seed_0/fold_2"
    manifest = read(folder / "manifest.json")
    assert manifest["definition"] == {
        "bundle": "hybrid",
        "configs": [],
        "options": {"epochs": 3},
        "evaluation_options": {},
        "fold": 2,
        "seed": 0,
    }
    training = manifest["training"]
    assert (training["epochs"], training["seconds"], training["images"]) == (3, 6.0, 10)
    assert training["images_per_second"] == 5.0  # 10 images in 2 seconds
    assert (training["commit"], training["processor"]) == ("abc", "none")
    assert set(manifest["evaluation"]) == {"test", "validation"}
    assert manifest["evaluation"]["test"]["data_sha256"] == "d"
    assert manifest["data"]["bytes"] == 5
    assert len(manifest["commands"]) == 3
    assert str(tmp_path) not in (folder / "manifest.json").read_text()
    assert re.findall("^this is (.*)", (folder / "log.txt").read_text(), re.M) == ["training", "test", "validation"]
    assert "1 of 1 runs are done, 0 failed" in capsys.readouterr().out


def test_what_is_done_is_skipped(run_list, tmp_path, capsys):
    runs = [{"name": "a"}, {"name": "b"}]
    assert run_list(only=["b"], runs=runs) == 0
    assert run_list(runs=runs) == 0
    assert (tmp_path / "runs/trial/a/seed_0/fold_0/manifest.json").is_file()
    output = capsys.readouterr().out
    assert "trial: 1 of 2 runs are done" in output
    assert output.count("start  b/seed_0/fold_0: training") == 1


def test_a_run_of_an_earlier_version_is_done(run_list, runs_of, tmp_path):
    """Folders that hold more entries than today's stay what they are."""
    assert run_list() == 0
    path = tmp_path / "runs/trial/han/seed_0/fold_0/state.json"
    path.write_text(json.dumps({**read(path), "config_sha256": "6452952b"}))
    assert [run.progress() for run in runs_of()] == ["done"]


def test_a_part_more_needs_no_training(run_list, tmp_path):
    assert run_list() == 0
    assert run_list(parts=["test", "train"]) == 0
    folder = tmp_path / "runs/trial/han/seed_0/fold_0"
    assert (folder / "log.txt").read_text().count("this is training") == 1
    assert set(read(folder / "manifest.json")["evaluation"]) == {"test", "train"}


def test_a_failure_stops_no_other_and_is_tried_again(run_list, tmp_path, capsys):
    runs = [{"name": "bad", "options": FAILS}, {"name": "good"}]
    assert run_list(runs=runs) == 1
    output = capsys.readouterr().out
    reason = "training: exit status 1: The cause: ValueError: no luck"
    assert f"failed bad/seed_0/fold_0: {reason}" in output
    assert "1 of 2 runs are done, 1 failed" in output
    folder = tmp_path / "runs/trial/bad/seed_0/fold_0"
    assert read(folder / "state.json")["failure"] == reason
    assert run_list(runs=runs) == 1
    assert (folder / "log.txt").read_text().count("first line") == 2
    assert not (folder / "manifest.json").exists()


@pytest.mark.parametrize(
    ("code", "message"), [("pass", r"training\.json"), ("import os; os.kill(os.getpid(), 9)", "exit status -9")]
)
def test_a_step_without_results_has_failed(run_list, capsys, code, message):
    assert run_list(command=lambda *_: ["-c", code]) == 1
    assert re.search(f"failed han/seed_0/fold_0: .*{message}", capsys.readouterr().out)


@pytest.mark.slow
def test_time_is_up_and_on_again(run_list, tmp_path, capsys):
    options = {"epochs": 3, **HANGS}
    assert run_list(minutes=4 / 60, options=options) == 3
    output = capsys.readouterr().out
    assert "stop   han/seed_0/fold_0: training after epoch 1 of 3\n" in output
    assert "0 of 1 runs are done, 0 failed\nstopped: call again to continue" in output
    assert run_list(minutes=4 / 60, options=options) == 3
    assert "training after epoch 2 of 3\n" in capsys.readouterr().out
    assert run_list(minutes=1, options=options) == 0
    manifest = read(tmp_path / "runs/trial/han/seed_0/fold_0/manifest.json")
    assert (manifest["training"]["epochs"], manifest["training"]["seconds"]) == (3, 6.0)  # of all three calls


def test_a_process_that_does_not_listen_is_forced(run_list, monkeypatch):
    monkeypatch.setattr(runner, "_GRACE", 0.5)
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
    start = time.monotonic()
    assert run_list(minutes=1 / 60, command=lambda *_: ["-c", code]) == 3
    assert time.monotonic() - start < 45


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_training_too(run_list, tmp_path, capsys, number):
    def command(run, step, images, folder):
        return ["-c", f"import os, time; print(os.getpid(), file=open({str(folder / 'pid')!r}, 'w')); time.sleep(60)"]

    pid = tmp_path / "runs/trial/han/seed_0/fold_0/pid"

    def signal_once_it_trains():  # earlier, no handler is there and the signal would end the tests
        while not (pid.is_file() and pid.read_text()):
            time.sleep(0.1)
        os.kill(os.getpid(), number)

    threading.Thread(target=signal_once_it_trains, daemon=True).start()
    assert run_list(command=command) == 3
    assert "stopped: call again to continue" in capsys.readouterr().out
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


def test_two_at_a_time(run_list, tmp_path):
    runs = [{"name": name, "options": HANGS} for name in ("a", "b", "c")]
    assert run_list(minutes=4 / 60, jobs=2, runs=runs) == 3
    begun = [name for name in ("a", "b", "c") if (tmp_path / f"runs/trial/{name}/seed_0/fold_0/history.csv").is_file()]
    assert begun == ["a", "b"]


@pytest.mark.parametrize(("given", "expected"), [(None, 4), (3, 3)])
def test_threads(runs_of, images, tmp_path, monkeypatch, given, expected):
    monkeypatch.setattr("torch.get_num_threads", lambda: 8)
    code = "import os; print('threads', os.environ['OMP_NUM_THREADS'])"
    Runner(runs_of(), [images], jobs=2, threads=given, command=lambda *_: ["-c", code])()
    assert f"threads {expected}\n" in (tmp_path / "runs/trial/han/seed_0/fold_0/log.txt").read_text()


def test_a_list_that_leaves_the_precision_to_the_processor_goes_on(run_list):
    named = {"epochs": 3, "precision": "bf16", "channels_last": True}
    assert run_list(options=named) == 0
    assert run_list(options={"epochs": 3}) == 0
    with pytest.raises(ValueError, match=r"options\.precision was 'bf16', is 'fp32'"):
        run_list(options={**named, "precision": "fp32"})


def test_another_definition_is_refused(run_list, runs_of, tmp_path):
    runs = [{"name": "a"}, {"name": "b", "options": HANGS}]
    assert run_list(runs=runs, minutes=4 / 60) == 3
    with pytest.raises(ValueError) as raised:
        runs_of(runs=runs, options={"epochs": 4, "image_size": 64})
    assert [line.strip() for line in str(raised.value).splitlines()[1:]] == [
        f"{label}/seed_0/fold_0: options.{change}"
        for label in "ab"
        for change in ("epochs was 3, is 4", "image_size was None, is 64")
    ]


def test_other_images_are_refused(run_list, images):
    assert run_list() == 0
    (images / ".hidden").write_bytes(b"1")
    assert run_list() == 0
    (images / "b.png").write_bytes(b"1")
    with pytest.raises(ValueError, match=r"\(1 files, 5 bytes\) .* \(2 files, 6 bytes\)"):
        run_list()


@pytest.mark.parametrize(
    ("keys", "error", "message"),
    [
        ({"minutes": 0}, ValueError, "--minutes .* 0"),
        ({"minutes": float("nan")}, ValueError, "--minutes .* nan"),
        ({"jobs": -1}, ValueError, "--jobs .* -1"),
        ({"dataset_dir": ["nowhere"]}, FileNotFoundError, "nowhere"),
    ],
)
def test_bad_calls(runs_of, images, tmp_path, keys, error, message):
    with pytest.raises(error, match=message):
        Runner(**{"runs": runs_of(), "dataset_dir": [images], **keys})
    assert not (tmp_path / "runs").exists()


def test_a_second_runner_is_refused(runs_of, images, tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "_PATIENCE", 0.3)
    second = Runner(runs_of(), [images], command=fake_bundle.command)
    (tmp_path / "runs/trial").mkdir(parents=True)
    with FileLock(tmp_path / "runs/trial/.lock"):
        with pytest.raises(TimeoutError, match="trial"):
            second()
    assert second() == 0


def test_overview(run_list, runs_of, images, tmp_path):
    runs = [{"name": "half", "options": {"epochs": 5, "batch_size": 2}}, {"name": "done"}, {"name": "new"}]
    runs += [{"name": "bad", "options": FAILS}]
    lines = overview(runs_of(runs=runs, parts=["test", "train"]), [images]).splitlines()
    assert lines[1] == "half/seed_0/fold_0: to do, 0 of 5 epochs"
    assert [line.split()[4] for line in lines[2:5]] == ["training", "evaluating", "evaluating"]
    assert f"--output_dir {tmp_path}/runs/trial/half/seed_0/fold_0" in lines[2]
    assert not (tmp_path / "runs").exists()
    assert run_list(runs=runs, only=["done"]) == 0
    assert run_list(runs=runs, only=["bad"]) == 1
    assert run_list(runs=runs, only=["half"], minutes=4 / 60) == 3
    assert [line for line in overview(runs_of(runs=runs), [images]).splitlines()[1:] if not line.startswith(" ")] == [
        "half/seed_0/fold_0: part, 2 of 5 epochs, about 0:00:06 left",  # of 2 seconds
        "done/seed_0/fold_0: done, 3 of 3 epochs",
        "new/seed_0/fold_0: to do, 0 of 3 epochs, about 0:00:06 left",
        "bad/seed_0/fold_0: failed, 3 of 3 epochs, about 0:00:00 left",
        "trial: 1 of 4 runs are done; one after another about 0:00:12 left",
    ]
