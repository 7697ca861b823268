import subprocess
import sys
from pathlib import Path

import hybrid_attention
import pytest
from hybrid_attention.engines.invocation import (
    check_overrides,
    command_line_options,
    config_files,
    find_bundle_root,
    own_bundles,
    root_cause,
    run_folder,
)


def test_options():
    words = ["run", "training", "--epochs", "3", "--a#b=0.5", "--flag", "--names", "['x','y']", "--path", "some/where"]
    assert command_line_options(words) == {
        "epochs": 3,
        "a#b": 0.5,
        "flag": True,
        "names": ["x", "y"],
        "path": "some/where",
    }


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--config_file", "a/train.yaml"], ["a/train.yaml"]),
        (["--config_file=['a/train.yaml','a/evaluate.yaml']"], ["a/train.yaml", "a/evaluate.yaml"]),
        (["run"], []),
        (["-m", "train", "-r", '{"model":"han","bundle_path":"model/han"}'], ["model/han/configs/train.yaml"]),
        (["-m", "train", "-r", '{"model":"other"}'], []),
        (["-m", "infer", "-r", '{"bundle_path":"model/han"}'], []),
    ],
)
def test_config_files(words, expected):
    assert config_files(words) == [Path(name) for name in expected]


def test_bundle_root_is_above_the_config_file(tmp_path, monkeypatch):
    config = tmp_path / "moved" / "configs" / "train.yaml"
    config.parent.mkdir(parents=True)
    config.write_text("")
    monkeypatch.setattr(sys, "argv", ["monai.bundle", "run", "--config_file", str(config)])
    assert find_bundle_root("hybrid") == str(tmp_path / "moved")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["monai.bundle", "run", "--config_file=['moved/configs/train.yaml','x.yaml']"])
    assert find_bundle_root("hybrid") == str(tmp_path / "moved")


def test_bundle_root_without_a_command_line(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["python"])
    checkout = Path(hybrid_attention.__file__).resolve().parents[1]
    assert find_bundle_root("hybrid") == str(checkout / "bundles" / "hybrid")
    monkeypatch.chdir(tmp_path)
    assert find_bundle_root("no such bundle") == str(tmp_path)


def test_packaged_bundle_finds_itself(tmp_path, monkeypatch):
    (tmp_path / "configs").mkdir()
    (tmp_path / "hybrid_attention").mkdir()
    (tmp_path / "configs" / "metadata.json").write_text("{}")
    monkeypatch.setattr(sys, "argv", ["python"])
    monkeypatch.setattr(hybrid_attention, "__file__", str(tmp_path / "hybrid_attention" / "__init__.py"))
    assert find_bundle_root("hybrid") == str(tmp_path)


def test_bundles_inside_the_installed_package(tmp_path, monkeypatch):
    package = tmp_path / "site-packages" / "hybrid_attention"
    bundle = package / "bundles" / "hybrid"
    for folder in (bundle, package.parent / "bundles" / "of_others"):
        (folder / "configs").mkdir(parents=True)
        (folder / "configs" / "metadata.json").write_text("{}")
    monkeypatch.setattr(hybrid_attention, "__file__", str(package / "__init__.py"))
    monkeypatch.setattr(sys, "argv", ["python"])
    monkeypatch.chdir(tmp_path)
    assert own_bundles() == {"hybrid": bundle}
    assert find_bundle_root("hybrid") == str(bundle)
    assert run_folder(str(bundle)) == str(tmp_path / "hybrid")
    assert run_folder(str(package.parent)) == str(package.parent)


CONFIG = {
    "epochs": 3,
    "resume": False,
    "network_def": {"_target_": "Net", "tam": True},
    "train": {"handlers": [{"_target_": "Seed", "seed": 0}], "memory": []},
}


@pytest.mark.parametrize(
    "key",
    ["epochs", "network_def", "network_def#tam", "network_def#depth", "train#handlers#0#seed", "+new", "meta_file"],
)
def test_overrides_that_do_something(key):
    check_overrides(CONFIG, {key: False})


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("epoch", 1, "--epoch names no key of the config; did you mean --epochs"),
        ("train#handler#0#seed", 1, "names no key"),
        ("train#handlers#1#seed", 1, "names no key"),
        ("train#handlers#first", 1, "names no key"),
        ("train#memories", 1, "names no key"),
        ("network_def#a#b", 1, "names no key"),
        ("resume", "false", "--resume false is the text 'false': write False"),
        ("network_def#tam", "null", r"write '\$None'"),
        ("epochs", None, r"--epochs None has no effect, since MONAI leaves it out: write '\$None'"),
    ],
)
def test_overrides_that_would_do_nothing(key, value, message):
    with pytest.raises(ValueError, match=message):
        check_overrides(CONFIG, {key: value})


def test_the_cause_is_printed_last():
    code = (
        "from hybrid_attention.engines.invocation import explain_errors\n"
        "explain_errors()\n"
        "try:\n"
        "    try:\n        1 / 0\n"
        "    except ZeroDivisionError as error:\n        raise ValueError('mask missing: add a.png') from error\n"
        "except ValueError as error:\n    raise RuntimeError('Failed to instantiate component') from error\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.rstrip().splitlines()[-1] == "The cause: ValueError: mask missing: add a.png"


def test_the_root_of_a_chain():
    cause, wrapped, outer = ValueError("mask missing"), RuntimeError("Failed to build"), RuntimeError("Failed to run")
    wrapped.__cause__, outer.__cause__ = cause, wrapped
    assert [root_cause(error) for error in (outer, wrapped, cause)] == [cause] * 3
    cause.__cause__ = KeyError("a")
    assert root_cause(outer) is cause


def test_the_root_of_a_circle():
    code = (
        "from hybrid_attention.engines.invocation import root_cause\n"
        "def again(error):\n"
        "    try:\n        raise root_cause(error) from error\n"
        "    except RuntimeError as caught:\n        return caught\n"
        "cause, wrapped, outer = (RuntimeError(f'Failed to {what}') for what in ('read a.png', 'build', 'run'))\n"
        "wrapped.__cause__ = cause\n"
        "assert again(wrapped) is cause and cause.__cause__ is wrapped\n"
        "assert again(cause) is cause\n"
        "outer.__cause__ = cause\n"
        "assert root_cause(outer) is cause\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
