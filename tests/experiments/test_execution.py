import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hybrid_attention.experiments import Runner, processes, read_plan
from hybrid_attention.experiments.execution import duration
from hybrid_attention.experiments.run_folder import changed_configs

from tests.experiments import drawn_bundle, fake_bundle

ROOT = Path(__file__).resolve().parents[2]
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
    assert [line for line in (folder / "log.txt").read_text().splitlines() if "this is" in line] == [
        "this is training",
        "this is test",
        "this is validation",
    ]
    assert "1 of 1 runs are done, 0 failed, 0 left" in capsys.readouterr().out


def test_what_is_done_is_skipped(run_list, tmp_path, capsys):
    runs = [{"name": "a"}, {"name": "b"}]
    assert run_list(only=["b"], runs=runs) == 0
    first = (tmp_path / "runs/trial/b/seed_0/fold_0/manifest.json").stat()
    assert run_list(runs=runs) == 0
    assert (tmp_path / "runs/trial/b/seed_0/fold_0/manifest.json").stat().st_mtime_ns == first.st_mtime_ns
    assert (tmp_path / "runs/trial/a/seed_0/fold_0/manifest.json").is_file()
    output = capsys.readouterr().out
    assert "trial: 1 of 2 runs are done" in output
    assert output.count("start  b/") == 1


def test_a_part_more_needs_no_training(run_list, tmp_path):
    assert run_list() == 0
    assert run_list(parts=["test", "train"]) == 0
    folder = tmp_path / "runs/trial/han/seed_0/fold_0"
    assert (folder / "log.txt").read_text().count("this is training") == 1
    assert set(read(folder / "manifest.json")["evaluation"]) == {"test", "train"}
    assert run_list(parts=["test"]) == 0


def test_a_failure_stops_no_other_and_is_tried_again(run_list, tmp_path, capsys):
    runs = [{"name": "bad", "options": FAILS}, {"name": "good"}]
    assert run_list(runs=runs) == 1
    output = capsys.readouterr().out
    reason = "training: exit status 1: The cause: ValueError: no luck"
    assert f"failed bad/seed_0/fold_0: {reason}" in output
    assert "1 of 2 runs are done, 1 failed, 0 left" in output
    assert (tmp_path / "runs/trial/good/seed_0/fold_0/manifest.json").is_file()
    folder = tmp_path / "runs/trial/bad/seed_0/fold_0"
    assert read(folder / "state.json")["failure"] == reason
    assert run_list(runs=runs) == 1
    assert (folder / "log.txt").read_text().count("first line") == 2
    assert not (folder / "manifest.json").exists()


def test_a_run_that_writes_nothing_has_failed(write_list, images, tmp_path, capsys):
    plan = read_plan(write_list())
    assert Runner(plan, images, tmp_path / "runs", command=lambda *_: ["-c", "pass"])() == 1
    assert "training.json is not there though the step ended without an error" in capsys.readouterr().out


def test_killed_from_outside(write_list, images, tmp_path, capsys):
    plan = read_plan(write_list())
    code = "import os; os.kill(os.getpid(), 9)"
    assert Runner(plan, images, tmp_path / "runs", command=lambda *_: ["-c", code])() == 1
    assert "training: killed by signal 9" in capsys.readouterr().out


@pytest.mark.slow
def test_time_is_up_and_on_again(run_list, tmp_path, capsys):
    options = {"epochs": 3, **HANGS}
    start = time.monotonic()
    assert run_list(minutes=1.5 / 60, options=options) == 3
    assert time.monotonic() - start < 20
    output = capsys.readouterr().out
    assert "stopped han/seed_0/fold_0 during training after epoch 1 of 3\n" in output
    assert "0 of 1 runs are done, 0 failed, 1 left\nthe time is up: call again to go on" in output
    assert run_list(minutes=1.5 / 60, options=options) == 3
    assert "(epoch 1 of 3 is done)" in capsys.readouterr().out
    assert run_list(minutes=1, options=options) == 0
    manifest = read(tmp_path / "runs/trial/han/seed_0/fold_0/manifest.json")
    assert (manifest["training"]["epochs"], manifest["training"]["seconds"]) == (3, 6.0)  # of all three calls


def test_no_gain_in_the_time_given(write_list, images, tmp_path, capsys):
    plan = read_plan(write_list())
    code = "import time; time.sleep(60)"
    assert Runner(plan, images, tmp_path / "runs", 0.5 / 60, command=lambda *_: ["-c", code])() == 3
    assert "no whole epoch in this call, so nothing is gained; allow more --minutes" in capsys.readouterr().out


def test_a_process_that_does_not_listen_is_forced(write_list, images, tmp_path, monkeypatch):
    monkeypatch.setattr(processes.stop, "__defaults__", (0.5,))
    plan = read_plan(write_list())
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
    start = time.monotonic()
    assert Runner(plan, images, tmp_path / "runs", 1 / 60, command=lambda *_: ["-c", code])() == 3
    assert time.monotonic() - start < 15


def test_termination_ends_the_children_too(run_list, capsys):
    threading.Timer(1.5, os.kill, (os.getpid(), signal.SIGTERM)).start()
    assert run_list(options=HANGS | {"epochs": 3}) == 3
    assert "stopped: call again to go on" in capsys.readouterr().out


def test_two_at_a_time(run_list, tmp_path):
    runs = [{"name": name, "options": HANGS} for name in ("a", "b", "c")]
    assert run_list(minutes=2 / 60, jobs=2, runs=runs) == 3
    begun = [name for name in ("a", "b", "c") if (tmp_path / f"runs/trial/{name}/seed_0/fold_0/history.csv").is_file()]
    assert begun == ["a", "b"]


def test_threads(write_list, images, tmp_path, monkeypatch):
    monkeypatch.setattr("torch.get_num_threads", lambda: 8)
    code = "import os; print('threads', os.environ['OMP_NUM_THREADS'])"
    for given, expected in ((None, 4), (3, 3)):
        runner = Runner(read_plan(write_list()), images, tmp_path / str(given), jobs=2, threads=given)
        runner.command = lambda *_: ["-c", code]
        runner()
        assert f"threads {expected}\n" in (tmp_path / str(given) / "trial/han/seed_0/fold_0/log.txt").read_text()


def test_a_list_that_leaves_the_precision_to_the_processor_goes_on(run_list):
    named = {"epochs": 3, "precision": "bf16", "channels_last": True}
    assert run_list(options=named) == 0
    assert run_list(options={"epochs": 3}) == 0
    with pytest.raises(ValueError, match=r"options\.precision was 'bf16', is 'fp32'"):
        run_list(options={**named, "precision": "fp32"})


def test_another_definition_is_refused(run_list, tmp_path):
    runs = [{"name": "a"}, {"name": "b"}]
    assert run_list(runs=runs) == 0
    with pytest.raises(ValueError) as raised:
        run_list(runs=runs, options={"epochs": 4, "image_size": 64})
    lines = str(raised.value).splitlines()
    assert "give the run another name, or remove its folder" in lines[0]
    assert lines[1].strip() == (
        "a/seed_0/fold_0 was started with another definition: options.epochs was 3, is 4; "
        "options.image_size was None, is 64"
    )
    assert lines[2].strip().startswith("b/seed_0/fold_0 was")


def test_changed_configs_of_a_bundle_are_told(run_list, tmp_path, capsys):
    configs = tmp_path / "bundles" / "tiny" / "configs"
    configs.mkdir(parents=True)
    keys = "fold seed resume epochs batch_size".split()
    paths = ["dataset_dir: images", "output_dir: out", "part: train"]
    (configs / "evaluate.yaml").write_text("part: test\n")

    def write(rate):
        (configs / "train.yaml").write_text(
            "\n".join([*paths, *(f"{key}: 1" for key in keys), f"learning_rate: {rate}"])
        )

    runs = [{"name": "done"}, {"name": "half", "options": HANGS}, {"name": "new"}]
    write(0.1)
    assert run_list(bundle="tiny", runs=runs, only=["done"]) == 0
    assert run_list(bundle="tiny", runs=runs, only=["half"], minutes=1 / 60) == 3
    assert "note" not in capsys.readouterr().out
    write(0.2)
    assert run_list(bundle="tiny", runs=runs, only=["done", "new"]) == 0
    lines = [line.split("] ")[1] for line in capsys.readouterr().out.splitlines() if "note" in line]
    note = "its config files say something else than when it was started"
    assert lines == [f"note: done/seed_0/fold_0: {note}"]
    assert changed_configs(read_plan(tmp_path / "list.yaml"), tmp_path / "runs") == [
        f"{name}/seed_0/fold_0: {note}" for name in ("done", "half")
    ]


def test_an_unfinished_run_is_held_to_its_definition_too(run_list):
    assert run_list(minutes=1 / 60, options=HANGS) == 3
    with pytest.raises(ValueError, match=r"options\.batch_size was 1, is 2"):
        run_list(options={"batch_size": 2})


def test_other_images_are_refused(run_list, images):
    assert run_list() == 0
    (images / ".hidden").write_bytes(b"1")
    assert run_list() == 0
    (images / "b.png").write_bytes(b"1")
    with pytest.raises(ValueError, match=r"other images \(1 files, 5 bytes\) than .* \(2 files, 6 bytes\)"):
        run_list()


@pytest.mark.parametrize(
    ("keys", "error", "message"),
    [
        ({"minutes": 0}, ValueError, "--minutes must be above 0, got 0"),
        ({"minutes": float("nan")}, ValueError, "--minutes must be above 0, got nan"),
        ({"jobs": -1}, ValueError, "--jobs must be above 0, got -1"),
        ({"dataset_dir": "nowhere"}, FileNotFoundError, "nowhere does not exist"),
        ({"out": "images/runs"}, ValueError, "lies in the folder of the images"),
    ],
)
def test_bad_calls(write_list, images, tmp_path, monkeypatch, keys, error, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=message):
        Runner(**{"plan": read_plan(write_list()), "dataset_dir": "images", "out": "runs", **keys})
    assert not (tmp_path / "runs").exists()


def test_a_second_runner_is_refused(write_list, images, tmp_path, monkeypatch):
    monkeypatch.setattr(processes.only_runner.__wrapped__, "__defaults__", (0.3,))
    runner = Runner(read_plan(write_list()), images, tmp_path / "runs", command=fake_bundle.command)
    with processes.only_runner(tmp_path / "runs/trial"):
        with pytest.raises(BlockingIOError, match=f"process {os.getpid()}, .* is at work in .*trial: wait for it"):
            runner()
    assert runner() == 0


def start_runner(write_list, images, tmp_path, **keys):
    code = (
        "import sys; from hybrid_attention.experiments import Runner, read_plan\n"
        "from tests.experiments import fake_bundle\n"
        f"sys.exit(Runner(read_plan({str(write_list(**keys))!r}), {str(images)!r}, {str(tmp_path / 'runs')!r},"
        "command=fake_bundle.command)())"
    )
    return subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def is_locked(path):
    with open(path) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def test_a_killed_runner_leaves_no_training_behind(write_list, images, tmp_path, run_list):
    keys = {"options": {"epochs": 2, **HANGS}}
    runner = start_runner(write_list, images, tmp_path, **keys)
    folder = tmp_path / "runs/trial"
    wait_for((folder / "han/seed_0/fold_0/history.csv").is_file)
    assert is_locked(folder / ".lock")
    runner.kill()
    runner.wait()
    if sys.platform != "linux":
        pytest.skip("only Linux ends the children of a killed process")
    wait_for(lambda: not is_locked(folder / ".lock"), seconds=5)  # the training held it, too
    assert run_list(**keys) == 0


def test_an_orphan_keeps_the_next_runner_away(tmp_path, monkeypatch):
    monkeypatch.setattr(processes, "_LIBC", None)  # as on other systems
    with processes.only_runner(tmp_path) as lock:
        orphan = processes.start(["-c", "import time; time.sleep(60)"], tmp_path, tmp_path / "log", 1, lock)
    assert is_locked(tmp_path / ".lock")
    with pytest.raises(BlockingIOError, match="or a training that it left behind"):
        with processes.only_runner(tmp_path, patience=0.1):
            pass
    processes.stop([orphan])
    assert not is_locked(tmp_path / ".lock")


def test_folds_are_united_when_all_are_done(run_list, tmp_path, merged):
    runs = [{"name": "a"}, {"name": "b", "folds": [0]}]
    keys = {"folds": [0, 1], "seeds": [0, 3], "runs": runs}
    assert run_list(only=["a"], **keys) == 0
    folder = tmp_path / "runs/trial/a"
    assert [out for _, out in merged] == [folder / "seed_0/all_folds", folder / "seed_3/all_folds"]
    assert merged[0][0] == [folder / "seed_0/fold_0/evaluation", folder / "seed_0/fold_1/evaluation"]
    assert run_list(**keys) == 0
    assert len(merged) == 2  # not again, and not for one fold
    assert run_list(**{**keys, "folds": [0, 1, 2], "seeds": [0]}) == 0
    assert len(merged) == 3
    assert len(merged[2][0]) == 3


def test_folds_that_cannot_be_united_are_told(run_folds, tmp_path, capsys):
    keys = {"folds": [0, 1], "seeds": [0, 3], "runs": [{"name": "a"}, {"name": "b", "seeds": [0]}]}
    assert run_folds({"a/seed_0/fold_0": 9, "b/seed_0/fold_1": 9}, **keys) == 1
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("  failed ")]
    assert [line.split(":")[0] for line in lines] == [f"  failed union of the folds of {run}/seed_0" for run in "ab"]
    assert all(line.endswith("epochs differ") for line in lines)
    assert [path.parent.name for path in sorted((tmp_path / "runs").rglob("all_folds"))] == ["seed_3"]


def test_a_later_union_clears_the_failure_of_an_earlier(write_list, images, tmp_path, capsys):
    plan = read_plan(write_list(folds=[0, 1, 2]))
    begin = drawn_bundle.command({"han/seed_0/fold_1": 9})

    def command(run, step, dataset_dir, folder):
        if (run.fold, step) == (2, "test"):  # folds 0 and 1 are done and don't fit; now they do
            drawn_bundle.evaluate(folder.parent / "fold_1", 1)
        return begin(run, step, dataset_dir, folder)

    assert Runner(plan, images, tmp_path / "runs", command=command)() == 0
    assert "failed" not in capsys.readouterr().out.replace("0 failed", "")
    assert read(tmp_path / "runs/trial/han/seed_0/all_folds/summary.json")["folds"]["merged"] == [0, 1, 2]


def test_duration():
    assert [duration(seconds) for seconds in (0, 59.6, 3723)] == ["0:00:00", "0:01:00", "1:02:03"]
