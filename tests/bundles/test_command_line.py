"""What all bundles share at the command line, shown with the hybrid bundle: errors, resuming, processes, formats."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest
import torch
from hybrid_attention.engines import load_weights

from tests.bundles.commands import QUICK, ROOT, bundle, command, config, parsed

TRAIN, SCRATCH, EVALUATE, INFERENCE, PARALLEL = (
    config("hybrid", name) for name in ("train", "from_scratch", "evaluate", "inference", "multi_gpu_train")
)
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


@pytest.mark.parametrize(
    ("run_id", "configs", "options", "message"),
    [
        ("training", [TRAIN], ["--dataset_dir", "nowhere"], "data folder nowhere does not exist"),
        ("training", [TRAIN], ["--output_dir", "/dev/null/out"], "can't write /dev/null/out"),
        ("training", [TRAIN], ["--fold", "7"], "fold must be from 0 to 4, got 7"),
        ("training", [TRAIN], ["--encoder_weights", "no.pth"], "no.pth"),
        ("inference", [INFERENCE], ["--ckpt_path", "no.pt"], "no weights at no.pt"),
        ("inference", [INFERENCE], ["--network_def#tam", "False"], "does not fit the network"),
    ],
)
def test_errors_end_with_their_cause(trained, phantoms, tmp_path, run_id, configs, options, message):
    given = {"--dataset_dir": phantoms, "--output_dir": tmp_path / "out"}
    if run_id == "inference":
        given["--ckpt_path"] = trained("hybrid").model
    given |= dict(zip(options[::2], options[1::2], strict=True))
    done = bundle(run_id, configs, *(word for pair in given.items() for word in pair), check=False)
    assert done.returncode != 0
    assert message in done.stderr[done.stderr.rindex("The cause: ") :]
    assert not list(tmp_path.rglob("*.pt"))


@pytest.mark.slow
def test_killed_three_times_and_resumed(trained, tmp_path):
    run = trained("hybrid")
    given = [word if word != run.out else tmp_path for word in run.given]
    words = command("training", run.configs, *given, "--epochs", 3, "--resume", "True")
    checkpoint = tmp_path / "models" / "checkpoint.pt"
    for number in range(3):  # once before any epoch is done, twice as soon as another epoch is
        before = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
        process = subprocess.Popen([sys.executable, *words], cwd=ROOT, env=ENVIRONMENT, stderr=subprocess.DEVNULL)
        deadline = time.time() + 120
        while process.poll() is None and time.time() < deadline:
            if number == 0 and checkpoint.parent.is_dir():
                break
            if number and checkpoint.exists() and checkpoint.stat().st_mtime_ns > before:
                break
            time.sleep(0.02)
        assert process.poll() is None, "the run ended before it could be killed"
        process.send_signal(signal.SIGKILL)
        process.wait()
    bundle("training", run.configs, *given, "--epochs", 3, "--resume", "True")
    assert not list(tmp_path.rglob(".part*"))
    cut, whole = (pd.read_csv(folder / "history.csv").drop(columns="seconds") for folder in (tmp_path, run.out))
    pd.testing.assert_frame_equal(cut, whole, check_exact=True)
    found, expected = (torch.load(folder / "models" / "model.pt", weights_only=True) for folder in (tmp_path, run.out))
    assert all(torch.equal(value, found[name]) for name, value in expected.items())


@pytest.mark.slow
def test_two_processes_validate_each_case_once(phantoms, tmp_path):
    words = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nnodes=1", "--nproc_per_node=2"]
    words += command("training", [TRAIN, PARALLEL], *QUICK, "--dataset_dir", phantoms, "--output_dir", tmp_path)
    words += ["--resume", "True", "--precision", "fp32", "--channels_last", "False"]  # scores in bf16 depend on batches
    for epochs in ("1", "2"):  # the second command goes on where the first ended
        done = subprocess.run([*words, "--epochs", epochs], cwd=ROOT, capture_output=True, text=True, env=ENVIRONMENT)
        assert done.returncode == 0, done.stderr[-3000:]
        if epochs == "1":
            shutil.copytree(tmp_path / "models", tmp_path / "first")
    history = pd.read_csv(tmp_path / "history.csv")
    assert list(history["epoch"]) == [1, 2]
    settings = {"image_size": 32, "device": "cpu", "precision": "fp32", "channels_last": False}
    parser = parsed("hybrid", "train", dataset_dir=str(phantoms), **settings)
    load_weights(parser.get_parsed_content("network_def"), tmp_path / "first" / "model.pt")
    evaluator = parser.get_parsed_content("validate#evaluator")
    evaluator.run()
    # an odd number of cases: padded to equal shares, one would count twice
    assert len(parser.get_parsed_content("split").validation) == 3
    assert history["val_mean_dice"][0] == pytest.approx(evaluator.state.metrics["val_mean_dice"], abs=1e-5)
    assert history["val_loss"][0] == pytest.approx(evaluator.state.metrics["val_loss"], abs=1e-4)


@pytest.mark.busi
@pytest.mark.slow
def test_bundle_on_real_images(busi, tmp_path):
    options = ["--dataset_dir", busi, "--output_dir", tmp_path, "--image_size", "64"]
    bundle("training", [TRAIN, SCRATCH], *options, "--epochs", "2")
    bundle("evaluating", [TRAIN, SCRATCH, EVALUATE], *options)
    summary = json.loads((tmp_path / "evaluation" / "summary.json").read_text())
    assert summary["cases"] == 125
    assert summary["synthetic_data"] is False
    assert summary["lesion_only"]["dice"]["mean"] > 0.2
