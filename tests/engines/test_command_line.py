from pathlib import Path

import pytest
import yaml
from hybrid_attention.engines.command_line import command_line_options, config_files, merge_configs, root_cause

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
        ("class_names", ["a"]),
        ("output_dir", "./a,b"),
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


@pytest.mark.parametrize("key", ["epoch", "train#handler#0#seed", "train#handlers#1#seed", "network_def#a#b", "given"])
def test_what_is_not_a_key(faults, key):
    assert f"--{key} is not a key of the config" in faults({key: 1})
    assert f"OVERLAY {key} is not a key of the config" in faults({}, {key: 1})


def test_what_is_run_needs_no_reference(faults):
    assert faults({}, {"show": "$print(1)", "evaluating": "@run"}) == ""
    assert "shows is not a key" in faults({}, {"shows": "$print(1)"})


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("resume", "false", "--resume false is read as text or ignored: write False"),
        ("output_dir", 2024, "--output_dir 2024 is not read as a path: write ./2024"),
        ("epochs", 1.5, "--epochs must be a whole number, got 1.5"),
        ("output_dir", ("a", "b"), "./a,b"),
        ("output_dir", "study#7", "avoid #"),
        ("dataset_dir", ["a", "study#7"], "avoid #"),
        ("network_def#tam", "null", "write '$None'"),
        ("epochs", None, "--epochs None is read as text or ignored: write '$None'"),
    ],
)
def test_words_of_the_command_line(faults, key, value, message):
    assert message in faults({key: value})


@pytest.mark.parametrize("name", BUNDLES)
def test_files_of_this_project(name):
    overlays = [*(ROOT / "scripts/experiments/overlays").iterdir()] if name == "hybrid" else []
    overlays += [path for path in (ROOT / "bundles" / name / "configs").glob("*.yaml") if path.stem != "inference"]
    for overlay in overlays:
        assert merge_configs([config(name, "train"), overlay], {}, ("training",))[1] == []
    files = [config(name, "train"), config(name, "multi_gpu_train"), config(name, "evaluate")]
    assert merge_configs(files, {}, ("evaluating",))[1] == []
    assert merge_configs([config(name, "inference")], {"frames": [1, 20]})[1] == []


def test_a_run_is_refused_before_it_works(tmp_path):
    overlay = tmp_path / "overlay.yaml"
    overlay.write_text("batch_sise: 1\n")
    (tmp_path / "arguments.yaml").write_text("epoch: 3\n")
    files = [config("hybrid", "train"), overlay]
    options = ("--args_file", tmp_path / "arguments.yaml", "--resume", "true", "--output_dir", tmp_path / "out")
    done = bundle("training", files, *options, check=False)
    assert done.returncode == 1
    cause = done.stderr.rstrip().splitlines()[-1]
    for fault in ("did you mean batch_size?", "--epoch is not a key", "--resume true is read as text"):
        assert fault in cause
    assert not (tmp_path / "out").exists()


def test_the_file_of_arguments_counts_where_the_command_line_says_nothing(tmp_path):
    words = ["run", "training", "-epochs", "3", "--a#b=0.5", "--flag", "--class-names", "[x,y]", "--path", "some/where"]
    expected = {"epochs": 3, "a#b": 0.5, "flag": True, "class_names": ["x", "y"], "path": "some/where"}
    assert command_line_options(words) == expected
    file = tmp_path / "arguments.yaml"
    file.write_text("config_file: [a/train.yaml, b.yaml]\nepochs: 7\nfold: 2\ngroups_csv: null\n")
    words = ["--args_file", str(file), "--epochs", "3"]
    options = command_line_options(words)
    assert (options["epochs"], options["fold"], options["groups_csv"]) == (3, 2, "$None")
    assert config_files(words) == [Path("a/train.yaml"), Path("b.yaml")]
    assert config_files(["--config_file=a/train.yaml"]) == [Path("a/train.yaml")] and config_files(["run"]) == []


def test_the_root_cause_of_a_chain():
    ran, built, cause = RuntimeError("Failed to run"), RuntimeError("Failed to build"), ValueError("mask missing")
    ran.__cause__, built.__cause__, cause.__cause__ = built, cause, KeyError("a")
    assert [root_cause(error) for error in (ran, built, cause)] == [cause] * 3
    built.__cause__ = ran  # as after `raise root_cause(error) from error`
    assert root_cause(ran) in (ran, built)
