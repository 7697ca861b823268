"""Several data sets and a split of one's own, in every bundle; from the command line in one."""

import csv

import pytest
from hybrid_attention.cli import main
from hybrid_attention.engines import TrainedRun
from hybrid_attention.phantoms import write_phantom_dataset
from monai.bundle import ConfigParser
from monai.data import DataLoader, Dataset

from tests.bundles.commands import BUNDLES, QUICK, bundle, config
from tests.data_sets import bus_bra


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    """Two data sets and a split: phantoms train and validate, BUS-BRA tests."""
    root = tmp_path_factory.mktemp("sets")
    write_phantom_dataset(root / "phantoms", benign=4, malignant=3, normal=0, seed=7, size=(64, 80))
    bus_bra(root / "bus_bra")
    folders = [str(root / "phantoms"), str(root / "bus_bra")]
    assert main(["splits", *folders, "--out", str(root / "any.csv")]) == 0
    with open(root / "any.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["dataset"] for row in rows} == {"busi", "bus_bra"} and len(rows) == 10
    parts = ["test" if row["dataset"] == "bus_bra" else "train" for row in rows]
    parts[parts.index("train")] = "validation"
    lines = [f"{row['case_id']},{part}" for row, part in zip(rows, parts, strict=True)]
    (root / "own.csv").write_text("\n".join(["case_id,part", *lines]))
    return root, folders


@pytest.mark.parametrize("name", BUNDLES)
def test_every_bundle(name, sets):
    root, folders = sets
    parser = ConfigParser()
    parser.read_config(config(name, "train"))
    parser.update({"dataset_dir": folders, "split_csv": str(root / "own.csv"), "image_size": 32})
    split = parser.get_parsed_content("split")
    assert {case["dataset"] for case in split.test} == {"bus_bra"} and len(split.train) == 6
    assert split.rule.startswith("the parts in own.csv")
    transform = parser.get_parsed_content("validate#preprocessing")
    batch = next(iter(DataLoader(Dataset([split.train[0], split.test[0]], transform), batch_size=2)))
    assert batch["dataset"] == ["busi", "bus_bra"] and batch["label"].shape == (2, 1, 32, 32)


def test_from_the_command_line(sets, tmp_path):
    root, folders = sets
    train, evaluate = config("hybrid", "train"), config("hybrid", "evaluate")
    given = ["--dataset_dir", str(folders), "--split_csv", root / "own.csv", "--output_dir", tmp_path, *QUICK]
    bundle("training", [train], *given, "--epochs", 1)
    bundle("evaluating", [train, evaluate], *given)
    with open(tmp_path / "evaluation" / "per_case.csv", newline="") as file:
        assert {row["group"] for row in csv.DictReader(file)} == {"bus_bra/1", "bus_bra/7"}
    run = TrainedRun(tmp_path, folders, "cpu", split_csv=root / "own.csv")
    assert [case["dataset"] for case in run.cases("test")] == ["bus_bra"] * 3
    with pytest.raises(ValueError, match="--split_csv"):
        TrainedRun(tmp_path, folders, "cpu").cases("test")
