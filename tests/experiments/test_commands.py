import shlex
import sys

import pytest
from fire.parser import DefaultParseValue
from hybrid_attention.engines import check_overrides
from hybrid_attention.engines.overrides import command_line_options, config_files
from hybrid_attention.experiments import bundle_command, shell_line

from tests.bundles.commands import ROOT

VALUES = [
    3,
    -0.5,
    True,
    "bf16",
    "imagenet",
    "None",
    "a b",
    "a,b",
    "-x",
    "$0.1 * @image_size",
    "it's",
    "x#y",
    [1, "a"],
    {"_target_": "hybrid_attention.networks.PlainUNet", "channels": [16, 32], "w": "@encoder_weights"},
]


@pytest.fixture
def run(runs_of):
    overlay = "bundles/hybrid/configs/from_scratch.yaml"
    options = {"epochs": 3, "encoder_weights": "/far/away.pth", "precision": "bf16"}
    return runs_of(configs=[overlay], options=options, evaluation_options={"gradcam": True}, folds=[2], seeds=[4])[0]


@pytest.mark.parametrize("value", VALUES, ids=str)
def test_values_come_through(run, value):
    run.options["lr_schedule"] = value
    words = bundle_command(run, "training", ["a b/c"], "out")
    options = command_line_options(words)
    assert options["lr_schedule"] == value
    assert options["dataset_dir"] == "a b/c"
    assert DefaultParseValue(words[words.index("--lr_schedule") + 1]) == value  # as monai.bundle reads it
    assert shlex.split(shell_line(words)) == ["python", *words]


def test_several_data_sets(run):
    words = bundle_command(run, "training", ["a", "b/c"], "out")
    assert command_line_options(words)["dataset_dir"] == ["a", "b/c"]


@pytest.mark.parametrize("place", ["/out/a b", "/2024,b", "/a@b"])
@pytest.mark.parametrize("step", ["training", "test"])
def test_places_come_through(run, step, place, monkeypatch):
    monkeypatch.chdir(ROOT)
    words = bundle_command(run, step, ["/a", f"/data{place}"], place)[1:]
    monkeypatch.setattr(sys, "argv", words)
    check_overrides()
    options = command_line_options(words)
    assert (options["dataset_dir"], options["output_dir"]) == (["/a", f"/data{place}"], place)


def test_null_is_an_expression(run):
    run.options["groups_csv"] = None  # a plain None would be left out by MONAI
    words = bundle_command(run, "training", ["data"], "out")
    assert words[-2:] == ["--groups_csv", "$None"]
    assert shell_line(words).endswith("--groups_csv '$None'")


def test_training(run):
    words = bundle_command(run, "training", ["data"], "out")
    assert words[:4] == ["-m", "monai.bundle", "run", "training"]
    folder = "bundles/hybrid/configs"
    assert [str(path) for path in config_files(words)] == [f"{folder}/train.yaml", f"{folder}/from_scratch.yaml"]
    options = command_line_options(words)
    del options["config_file"]
    assert options == {
        "dataset_dir": "data",
        "output_dir": "out",
        "fold": 2,
        "seed": 4,
        "resume": True,
        "epochs": 3,
        "encoder_weights": "/far/away.pth",
        "precision": "bf16",
    }


def test_evaluation(run):
    words = bundle_command(run, "validation", ["data"], "out")
    assert words[3] == "evaluating"
    assert [path.name for path in config_files(words)] == ["train.yaml", "from_scratch.yaml", "evaluate.yaml"]
    options = command_line_options(words)
    assert (options["fold"], options["part"], options["gradcam"], options["precision"]) == (
        2,
        "validation",
        True,
        "bf16",
    )
    assert "resume" not in options
    assert "encoder_weights" not in options  # evaluate.yaml sets it: the trained weights hold the encoder


def test_the_record_names_no_folder(run):
    training, evaluation = (
        shell_line(bundle_command(run.portable(), step, ["DATASET"], "RUN")) for step in ("training", "test")
    )
    assert "--dataset_dir DATASET --output_dir RUN" in training
    assert "--encoder_weights away.pth" in training
    assert evaluation.endswith("--part test")
    assert "/far" not in training + evaluation
    assert "\"['bundles/hybrid/configs/train.yaml', " in training
