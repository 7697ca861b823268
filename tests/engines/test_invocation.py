import sys
from pathlib import Path

import hybrid_attention
import pytest
from hybrid_attention.engines.invocation import (
    command_line_options,
    config_files,
    find_bundle_root,
    own_bundles,
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
    ("typed", "path"),
    [
        *((name, name) for name in ("2024", "1e3", "007", "a,b", "1,2", "study#7", "/a/study#7/x", "a#b@c", "$x")),
        ("'a b/#c'", "a b/#c"),
        ("['BUSI', 'study#7']", ["BUSI", "study#7"]),
        ("[BUSI,2024]", ["BUSI", "2024"]),
        ("./None", "./None"),
        ("None", None),
        ("True", True),  # also what `--dataset_dir` without a value is
        ("{'resnet18': 'r.pth'}", {"resnet18": "r.pth"}),
    ],
)
def test_paths_are_what_was_typed(typed, path):
    assert command_line_options(["--dataset_dir", typed]) == {"dataset_dir": path}
    assert command_line_options([f"--dataset_dir={typed}"]) == {"dataset_dir": path}


def test_other_values_are_what_monai_makes_of_them():
    words = ["-epochs", "3", "--class-names", "[benign,malignant]", "--flips", "[[],[0]]", "--resume", "--part", "test"]
    expected = {"epochs": 3, "class_names": ["benign", "malignant"], "flips": [[], [0]], "resume": True, "part": "test"}
    assert command_line_options(words) == expected


def test_the_file_of_arguments_counts_where_the_command_line_says_nothing(tmp_path):
    file = tmp_path / "arguments.yaml"
    file.write_text("config_file: [a/train.yaml, b.yaml]\nepochs: 7\nfold: 2\ngroups_csv: null\n")
    words = ["--args_file", str(file), "--epochs", "3"]
    options = command_line_options(words)
    assert (options["epochs"], options["fold"], options["groups_csv"]) == (3, 2, "$None")
    assert config_files(words) == [Path("a/train.yaml"), Path("b.yaml")]


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
