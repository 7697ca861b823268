"""The hybrid bundle, run as a user runs it: from the command line, on files. What all bundles share is tested here."""

import ast
import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import nibabel
import numpy as np
import pytest
import torch
from hybrid_attention.engines import load_weights
from monai.bundle import ConfigParser
from PIL import Image

from tests.bundles.commands import QUICK, ROOT, bundle, command, config

TRAIN, SCRATCH, EVALUATE, INFERENCE, PARALLEL = (
    config("hybrid", name) for name in ("train", "from_scratch", "evaluate", "inference", "multi_gpu_train")
)


def history(folder):
    with open(folder / "history.csv", newline="") as file:
        return [{key: value for key, value in row.items() if key != "seconds"} for row in csv.DictReader(file)]


def weights(folder, name="model.pt"):
    return torch.load(folder / "models" / name, weights_only=True)


def curve(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    return [
        (event.step, event.value)
        for event in EventAccumulator(str(folder / "tensorboard")).Reload().Scalars("val_loss")
    ]


@pytest.fixture(scope="module")
def trained(phantoms, tmp_path_factory):
    """A run of three epochs with random augmentation in worker processes."""
    out = tmp_path_factory.mktemp("trained")
    bundle("training", [TRAIN, SCRATCH], "--dataset_dir", phantoms, "--output_dir", out, "--epochs", 3, *QUICK)
    return out


def test_training_leaves_its_files(trained):
    assert [row["epoch"] for row in history(trained)] == ["1", "2", "3"]
    assert set(history(trained)[0]) == {"epoch", "train_loss", "val_mean_dice", "val_loss", "learning_rate"}
    assert set(weights(trained, "checkpoint.pt")["objects"]) >= {"network", "optimizer", "lr_scheduler"}
    events = list((trained / "tensorboard").iterdir())
    assert len(events) == 1
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log = EventAccumulator(str(events[0])).Reload()
    assert len(log.Scalars("val_mean_dice")) == 3
    assert len(log.Tags()["images"]) > 0
    assert not [path for path in trained.rglob("*") if path.name.startswith(".part")]


def test_training_learns(trained):
    losses = [float(row["train_loss"]) for row in history(trained)]
    assert losses[-1] < losses[0]


def test_evaluation(trained, phantoms, tmp_path):
    options = ["--dataset_dir", phantoms, "--output_dir", trained, "--evaluation_dir", tmp_path, *QUICK]
    done = bundle("evaluating", [TRAIN, SCRATCH, EVALUATE], *options)
    assert "SYNTHETIC DATA" in done.stdout
    with open(tmp_path / "per_case.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["synthetic_data"] is True
    assert summary["cases"] == len(rows) == len(list((tmp_path / "overlays").rglob("*.png")))
    assert {"case_id", "class", "dice", "jaccard", "sensitivity", "specificity", "precision", "accuracy"} <= set(
        rows[0]
    )
    for row in rows:
        tp, fp, fn, tn = (int(row[name]) for name in ("tp", "fp", "fn", "tn"))
        assert tp + fp + fn + tn == 32 * 32
        assert float(row["dice"]) == pytest.approx(2 * tp / (2 * tp + fp + fn), abs=1e-6)
    assert summary["lesion_only"]["dice"]["mean"] == pytest.approx(
        np.mean([float(row["dice"]) for row in rows]), abs=1e-6
    )
    assert summary["provenance"]["overrides"]["image_size"] == 32
    assert "hybrid/train.yaml" in summary["provenance"]["config_files"]
    assert "test fold 0 of 5" in summary["split"]
    assert summary["training"]["recipe"]["lr_scheduler"]["_target_"].endswith("OneCycleLR")
    assert summary["training"]["recipe"]["epochs"] == 3
    assert summary["training"]["images"]["training"] > 2
    assert str(tmp_path) not in json.dumps(summary)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--fold", "2"], "were in the training set"),
        (["--split_seed", "1"], "were in the"),
        (["--image_size", "64"], "trained with other settings: image_size was 32, is 64"),
    ],
)
def test_evaluation_refuses_what_was_trained_on(trained, phantoms, tmp_path, options, message):
    given = ["--dataset_dir", phantoms, "--output_dir", trained, "--evaluation_dir", tmp_path / "out"]
    given += QUICK if "--image_size" not in options else []
    done = bundle("evaluating", [TRAIN, SCRATCH, EVALUATE], *given, *options, check=False)
    assert message in done.stderr[done.stderr.rindex("The cause: ") :]
    assert not (tmp_path / "out").exists()


def test_inference_on_any_folder_from_anywhere(trained, phantoms, tmp_path):
    images, out = tmp_path / "images", tmp_path / "out"
    (images / "deep").mkdir(parents=True)
    picture = Image.open(phantoms / "benign" / "benign (1).png")
    shutil.copy(phantoms / "benign" / "benign (1).png", images / "with truth.png")
    shutil.copy(phantoms / "benign" / "benign (1)_mask.png", images / "with truth_mask.png")
    picture.resize((75, 41)).save(images / "deep" / "other size.jpg")
    grey = np.asarray(picture)
    Image.fromarray(grey.astype(np.uint16) * 257).save(images / "sixteen.png")
    picture.convert("RGBA").save(images / "rgba.png")
    affine = np.diag([0.1, 0.2, 1, 1])
    nibabel.save(nibabel.Nifti1Image(grey.T[..., None].astype(np.float32), affine), images / "volume.nii.gz")
    model = trained / "models" / "model.pt"
    options = ["--dataset_dir", images, "--output_dir", out, "--ckpt_path", model, "--image_size", 32]
    bundle("inference", [INFERENCE], *options, cwd=tmp_path)
    with Image.open(out / "with truth_mask.png") as mask:
        assert mask.size == picture.size
        reference = np.asarray(mask)
        assert set(np.unique(reference)) <= {0, 255}
    with Image.open(out / "deep" / "other size_mask.png") as mask:
        assert mask.size == (75, 41)
    with Image.open(out / "deep" / "other size_overlay.png") as overlay:
        assert (overlay.size, overlay.mode) == ((75, 41), "RGB")
    for name in ("sixteen", "rgba"):  # the same picture in other encodings
        np.testing.assert_array_equal(np.asarray(Image.open(out / f"{name}_mask.png")), reference)
    volume = nibabel.load(out / "volume_mask.nii.gz")
    np.testing.assert_allclose(volume.affine, affine)
    np.testing.assert_array_equal(np.asarray(volume.dataobj)[..., 0].T * 255, reference)
    with open(out / "predictions.csv", newline="") as file:
        rows = {row["case_id"]: row for row in csv.DictReader(file)}
    assert set(rows) == {"with truth.png", "deep/other size.jpg", "sixteen.png", "rgba.png", "volume.nii.gz"}
    assert int(rows["rgba.png"]["lesion_pixels"]) == (reference > 0).sum()
    coloured = np.asarray(Image.open(out / "with truth_overlay.png")).astype(int)
    assert (np.ptp(coloured, axis=-1) > 30).any()
    assert list(tmp_path.iterdir()) in ([images, out], [out, images])


def test_inference_after_the_bundle_moved(trained, phantoms, tmp_path):
    moved = tmp_path / "elsewhere" / "han"
    ignored = shutil.ignore_patterns("data", "predictions", "models")
    shutil.copytree(ROOT / "bundles" / "hybrid", moved, ignore=ignored)
    (moved / "models").mkdir()
    shutil.copy(trained / "models" / "model.pt", moved / "models" / "model.pt")
    image = phantoms / "malignant" / "malignant (1).png"
    bundle(
        "inference", [moved / "configs" / "inference.yaml"], "--dataset_dir", image, "--image_size", 32, cwd=tmp_path
    )
    assert (moved / "predictions" / "malignant (1)_mask.png").is_file()


def test_a_training_that_diverges_fails(phantoms, tmp_path):
    options = ["--dataset_dir", phantoms, "--output_dir", tmp_path, "--learning_rate", "1e30", *QUICK]
    done = bundle("training", [TRAIN], *options, check=False)
    assert done.returncode == 1
    assert "FloatingPointError: the training diverged in epoch 1, step " in done.stderr
    assert not list((tmp_path / "models").glob("*.pt"))


@pytest.mark.slow
def test_killed_three_times_and_resumed(trained, phantoms, tmp_path):
    options = ["--dataset_dir", phantoms, "--output_dir", tmp_path, "--epochs", 3, "--resume", "True", *QUICK]
    words = [sys.executable, *command("training", [TRAIN, SCRATCH], *options)]
    environment = {"OMP_NUM_THREADS": "2", **os.environ}
    checkpoint = tmp_path / "models" / "checkpoint.pt"
    kills = 0
    for number in range(3):
        process = subprocess.Popen(
            words, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        before = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
        deadline = time.time() + 120
        # once before any epoch is done, twice as soon as another epoch is
        while process.poll() is None and time.time() < deadline:
            reached = (
                (tmp_path / "models").is_dir()
                if number == 0
                else (checkpoint.exists() and checkpoint.stat().st_mtime_ns > before)
            )
            if reached:
                break
            time.sleep(0.02)
        assert process.poll() is None, "the run ended before it could be killed"
        process.send_signal(signal.SIGKILL)
        process.wait()
        kills += 1
    assert kills == 3
    bundle("training", [TRAIN, SCRATCH], *options)
    assert not list(tmp_path.rglob(".part*"))
    assert curve(tmp_path) == curve(trained)
    assert history(tmp_path) == history(trained)
    for name in ("model.pt", "checkpoint.pt"):
        cut, whole = weights(tmp_path, name), weights(trained, name)
        if name == "checkpoint.pt":
            assert cut["best_metric"] == whole["best_metric"]
            cut, whole = cut["objects"]["network"], whole["objects"]["network"]
        assert all(torch.equal(cut[key], whole[key]) for key in whole)


@pytest.mark.slow
def test_two_processes_validate_each_case_once(phantoms, tmp_path):
    words = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nnodes=1", "--nproc_per_node=2"]
    words += command("training", [TRAIN, PARALLEL], *QUICK, "--dataset_dir", phantoms, "--output_dir", tmp_path)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    exact = {"precision": "fp32", "channels_last": False}  # scores depend on the batch in bf16
    for epochs in ("1", "2"):  # the second command goes on where the first ended
        given = ["--epochs", epochs, "--resume", "True", *(f"--{key}={value}" for key, value in exact.items())]
        done = subprocess.run([*words, *given], cwd=ROOT, capture_output=True, text=True, env=environment)
        assert done.returncode == 0, done.stderr[-3000:]
        if epochs == "1":
            shutil.copytree(tmp_path / "models", tmp_path / "first")
    row, second = history(tmp_path)
    assert second["epoch"] == "2"
    parser = ConfigParser()
    parser.read_config(TRAIN)
    parser.update({"dataset_dir": str(phantoms), "image_size": 32, "device": "cpu", **exact})
    load_weights(parser.get_parsed_content("network_def"), tmp_path / "first" / "model.pt")
    evaluator = parser.get_parsed_content("validate#evaluator")
    evaluator.run()
    # an odd number of cases: padded to equal shares, one would count twice
    assert len(parser.get_parsed_content("split").validation) == 3
    assert float(row["val_mean_dice"]) == pytest.approx(evaluator.state.metrics["val_mean_dice"], abs=1e-5)
    assert float(row["val_loss"]) == pytest.approx(evaluator.state.metrics["val_loss"], abs=1e-4)


def test_last_batch_of_one_is_left_out(phantoms, tmp_path):
    parser = ConfigParser()
    parser.read_config(TRAIN)
    parser.update({"dataset_dir": str(phantoms), "image_size": 32, "output_dir": str(tmp_path)})
    count = len(parser.get_parsed_content("split").train)
    for batch_size, expected in ((count - 1, 1), (2, count // 2 + count % 2 - (count % 2 == 1))):
        parser.update({"batch_size": batch_size})
        sizes = [len(batch["image"]) for batch in parser.get_parsed_content("train#dataloader")]
        assert len(sizes) == expected
        assert min(sizes) > 1


@pytest.mark.parametrize(
    ("run_id", "configs", "options", "message"),
    [
        ("training", [TRAIN], ["--dataset_dir", "nowhere"], "data folder nowhere does not exist"),
        ("training", [TRAIN], ["--output_dir", "/dev/null/out"], "can't write /dev/null/out"),
        ("training", [TRAIN], ["--learning_rat", "1"], "did you mean --learning_rate?"),
        ("training", [TRAIN], ["--resume", "false"], "--resume false is read as text or ignored: write False"),
        ("training", [TRAIN], ["--fold", "7"], "fold must be from 0 to 4, got 7"),
        ("training", [TRAIN], ["--encoder_weights", "no.pth"], "no.pth"),
        ("inference", [INFERENCE], ["--ckpt_path", "no.pt"], "no weights at no.pt: train the bundle first"),
        ("inference", [INFERENCE], ["--network_def#tam", "False"], "is of another architecture"),
    ],
)
def test_errors_end_with_their_cause(trained, phantoms, tmp_path, run_id, configs, options, message):
    given = {"--dataset_dir": phantoms, "--output_dir": tmp_path / "out"}
    if run_id == "inference":
        given["--ckpt_path"] = trained / "models" / "model.pt"
    given |= dict(zip(options[::2], options[1::2], strict=True))
    done = bundle(run_id, configs, *(word for pair in given.items() for word in pair), check=False)
    assert done.returncode != 0
    cause = done.stderr[done.stderr.rindex("The cause: ") :]
    assert message in cause
    assert not list((tmp_path / "out").rglob("*.pt")) if (tmp_path / "out").exists() else True


def test_packaged_bundle_runs_where_nothing_is_installed(trained, phantoms, tmp_path):
    packaged = tmp_path / "packaged"
    shutil.copytree(ROOT / "bundles" / "hybrid" / "configs", packaged / "configs")
    shutil.copytree(
        ROOT / "hybrid_attention", packaged / "hybrid_attention", ignore=shutil.ignore_patterns("__pycache__")
    )
    (packaged / "models").mkdir()
    shutil.copy(trained / "models" / "model.pt", packaged / "models")
    image = phantoms / "benign" / "benign (1).png"
    words = command("inference", [packaged / "configs" / "inference.yaml"], "--dataset_dir", image, "--image_size", 32)
    # hide the installed package: an import hook of an editable install, or a folder in site-packages
    code = (
        "import runpy, sys\n"
        "sys.meta_path[:] = [f for f in sys.meta_path if 'editable' not in getattr(f, '__module__', repr(f)).lower()]\n"
        f"sys.path[:] = [p for p in sys.path if p not in ('', {str(ROOT)!r})]\n"
        "try:\n    import hybrid_attention\n    raise SystemExit('still importable')\n"
        "except ModuleNotFoundError:\n    pass\n"
        f"sys.argv = ['monai.bundle', *{words[2:]!r}]\n"
        "runpy.run_module('monai.bundle', run_name='__main__')\n"
    )
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    done = subprocess.run([sys.executable, "-c", code], cwd=elsewhere, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert (packaged / "predictions" / "benign (1)_mask.png").is_file()


def test_udiat_through_the_bundle(phantoms, tmp_path):
    for folder in ("original", "GT"):
        (tmp_path / folder).mkdir()
    rows = ["Image,Type"]
    for number in range(1, 9):
        source = phantoms / "benign" / f"benign ({number})"
        shutil.copy(f"{source}.png", tmp_path / "original" / f"{number:06d}.png")
        shutil.copy(f"{source}_mask.png", tmp_path / "GT" / f"{number:06d}.png")
        rows.append(f"{number:06d},{'Benign' if number % 2 else 'Malignant'}")
    (tmp_path / "DatasetB.csv").write_text("\n".join(rows))
    parser = ConfigParser()
    parser.read_config(TRAIN)
    parser.update({"dataset_dir": str(tmp_path), "num_folds": 4, "image_size": 32})
    split = parser.get_parsed_content("split")
    assert sorted(len(part) for part in (split.train, split.validation, split.test)) == [2, 2, 4]
    assert parser.get_parsed_content("train#dataset")[0]["image"].shape == (3, 32, 32)


def test_torchscript_export(trained, tmp_path):
    from monai.bundle import ckpt_export

    ckpt_export(
        net_id="network_def",
        filepath=str(tmp_path / "model.ts"),
        ckpt_file=str(trained / "models" / "model.pt"),
        meta_file=str(config("hybrid", "metadata.json")),
        config_file=str(INFERENCE),
        key_in_ckpt="",
    )
    exported = torch.jit.load(tmp_path / "model.ts").eval()
    parser = ConfigParser()
    parser.read_config(INFERENCE)
    network = load_weights(parser.get_parsed_content("network_def"), trained / "models" / "model.pt")
    image = torch.rand(1, 3, 48, 64)
    torch.testing.assert_close(exported(image), network(image))


def test_documented_rows_of_table_2():
    text = (ROOT / "bundles" / "hybrid" / "docs" / "README.md").read_text()
    rows = re.findall(r"^\| [^|]+ \| ([\d,]+) \| `([^`]*)` \|$", text, flags=re.M)
    assert len(rows) == 5
    for count, options in rows:
        parser = ConfigParser()
        parser.read_config(TRAIN)
        words = options.split(maxsplit=1) if options.startswith("--network_def ") else options.split()
        for key, value in zip(words[::2], words[1::2], strict=True):
            parser.update({key[2:]: ast.literal_eval(value.strip('"'))})
        network = parser.get_parsed_content("network_def")
        assert sum(weight.numel() for weight in network.parameters()) == int(count.replace(",", ""))


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
