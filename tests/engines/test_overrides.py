import sys

import pytest
import yaml
from hybrid_attention.engines import begin_run
from hybrid_attention.engines.overrides import merge_configs

from tests.bundles.commands import BUNDLES, ROOT, bundle, config

CONFIG = {
    "epochs": 3,
    "rate": 0.1,
    "resume": False,
    "output_dir": "@bundle_root",
    "class_names": None,
    "network_def": {"_target_": "Net", "tam": True},
    "train": {"handlers": [{"_target_": "Seed", "seed": 0}], "memory": []},
    "lost": "$@given_later + @train#part#size",
    "run": ["$@train#handlers"],
}


@pytest.fixture
def faults(tmp_path):
    """What is wrong with overrides of a small config, and with an overlay of it, without the file's name."""

    def find(overrides, overlay=None):
        files = [tmp_path / "train.yaml"]
        files[0].write_text(yaml.safe_dump(CONFIG))
        if overlay is not None:
            files.append(tmp_path / "overlay.yaml")
            files[1].write_text(yaml.safe_dump(overlay))
        found = merge_configs(files, overrides, ("show",))[1]
        return "; ".join(found).replace(f"{tmp_path}/overlay.yaml: ", "OVERLAY ")

    return find


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("epochs", 4),
        ("epochs", "$2 * 2"),
        ("rate", 1),
        ("resume", True),
        ("class_names", ["a"]),
        ("output_dir", "a#b"),
        ("network_def", {"_target_": "Other"}),
        ("network_def#tam", False),
        ("network_def::depth", 3),
        ("train#handlers#0#seed", 1),
        ("train#part", {"size": 3}),
        ("given_later", 1),
        ("+train#handlers", []),
        ("imports", ["$import a"]),
    ],
)
def test_what_does_something(faults, key, value):
    assert faults({key: value}) == faults({}, {key: value}) == ""


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("epoch", 1, "epoch names no key of the config; did you mean "),
        ("train#handler#0#seed", 1, "names no key"),
        ("train#handlers#1#seed", 1, "names no key"),
        ("train#handlers#first", 1, "names no key"),
        ("train#memories", 1, "names no key"),
        ("network_def#a#b", 1, "names no key"),
        ("given", 1, "names no key"),
        ("epochs", 1.5, "epochs must be a whole number from 1, got 1.5"),
        ("epochs", 0, "epochs must be a whole number from 1, got 0"),
        ("epochs", True, "epochs must be a whole number from 1, got True"),
        ("epochs", "ten", "epochs must be a whole number from 1, got 'ten'"),
        ("rate", "1e-3", "rate must be a number, got '1e-3'"),
        ("resume", 1, "resume must be True or False, got 1"),
        ("network_def", "Net", "network_def must be a mapping, got 'Net'"),
        ("output_dir", 2024, "output_dir must be a path (write './2024' for a file or folder of that name), got 2024"),
        ("output_dir", True, "for a file or folder of that name), got True"),
    ],
)
def test_what_does_not_do_what_it_says(faults, key, value, message):
    assert message in faults({key: value})
    assert message in faults({}, {key: value})


def test_the_place_is_named(faults):
    assert faults({"epoch": 1}) == "--epoch names no key of the config; did you mean --epochs?"
    assert faults({}, {"epoch": 1}) == "OVERLAY epoch names no key of the config; did you mean epochs?"


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("resume", "false", "--resume false is the text 'false': write False"),
        ("network_def#tam", "null", "write '$None'"),
        ("epochs", None, "--epochs None has no effect, since MONAI leaves it out: write '$None'"),
    ],
)
def test_words_of_the_command_line(faults, key, value, message):
    assert message in faults({key: value})


def test_what_is_run_needs_no_reference(faults):
    assert faults({}, {"show": "$print(1)", "evaluating": "@run"}) == ""
    assert "shows names no key" in faults({}, {"shows": "$print(1)"})


def test_a_config_of_ones_own_is_checked_too(tmp_path):
    (tmp_path / "own.yaml").write_text("batch_size: 0\n")
    assert merge_configs([tmp_path / "own.yaml"], {})[1] == [
        f"{tmp_path}/own.yaml: batch_size must be a whole number from 1, got 0"
    ]


@pytest.mark.parametrize("name", BUNDLES)
def test_files_of_this_project(name):
    overlays = [*(ROOT / "scripts/experiments/overlays").iterdir()] if name == "hybrid" else []
    overlays += [path for path in (ROOT / "bundles" / name / "configs").glob("*.yaml") if path.stem != "inference"]
    for overlay in overlays:
        assert merge_configs([config(name, "train"), overlay], {}, ("training",))[1] == []
    files = [config(name, "train"), config(name, "multi_gpu_train"), config(name, "evaluate")]
    assert merge_configs(files, {}, ("evaluating",))[1] == []
    assert merge_configs([config(name, "inference")], {"frames": [1, 20]})[1] == []


def test_paths_of_every_source_arrive_as_they_were_written(tmp_path, monkeypatch):
    (tmp_path / "train.yaml").write_text(
        "epochs: 1\ndataset_dir: a#1\noutput_dir: b#2\nckpt_dir: $1\ngroups_csv: null\n"
    )
    (tmp_path / "overlay.yaml").write_text("dataset_dir: c#3\n")
    (tmp_path / "arguments.yaml").write_text("output_dir: d#4\n")
    files = f"['{tmp_path}/train.yaml','{tmp_path}/overlay.yaml']"
    words = ["monai.bundle", "run", "--config_file", files, "--args_file", str(tmp_path / "arguments.yaml")]
    monkeypatch.setattr(sys, "argv", [*words, "--groups_csv", "2024"])
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    resolved = {}
    begin_run(resolved)
    assert resolved == {"dataset_dir": "c#3", "output_dir": "d#4", "groups_csv": "2024"}


def test_a_run_is_refused_before_it_works(tmp_path):
    overlay = tmp_path / "overlay.yaml"
    overlay.write_text("batch_size: 0\n")
    (tmp_path / "arguments.yaml").write_text("epoch: 3\n")
    files = [config("hybrid", "train"), overlay]
    options = ("--args_file", tmp_path / "arguments.yaml", "--image_size", "64.5", "--output_dir", tmp_path / "out")
    done = bundle("training", files, *options, check=False)
    assert done.returncode == 1
    cause = done.stderr.rstrip().splitlines()[-1]
    for fault in ("batch_size must be a whole number from 1, got 0", "epoch names no key", "got 64.5"):
        assert fault in cause
    assert not (tmp_path / "out").exists()


def test_a_run_reads_and_writes_where_it_is_told(phantoms, tmp_path):
    images = tmp_path / "2024"
    images.mkdir()
    for name in ("a.png", "b#2.png"):  # not frame 2 of a DICOM file
        (images / name).write_bytes((phantoms / "benign" / "benign (1).png").read_bytes())
    options = ("--image_size", "32", "--dataset_dir", "2024", "--output_dir", "a#b@c")
    bundle("inference", [config("hybrid", "inference")], *options, cwd=tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["2024", "a#b@c"]
    assert {path.name for path in (tmp_path / "a#b@c").glob("*_mask.png")} == {"a_mask.png", "b#2_mask.png"}
