"""What every bundle's configs must hold, for users and for MONAI's bundle commands, the model zoo and MONAI Label."""

import inspect
import json
from pydoc import locate

import hybrid_attention
import pandas as pd
import pytest
import torch
from hybrid_attention.cli import main
from hybrid_attention.deploy import zoo_checks
from hybrid_attention.networks import baselines
from hybrid_attention.phantoms import write_phantom_dataset
from monai.bundle import ConfigParser
from monai.data import DataLoader, Dataset

from tests.bundles.commands import BUNDLES, ROOT, config, parsed
from tests.data.published_sets import bus_bra

every_bundle = pytest.mark.parametrize("name", BUNDLES)


@every_bundle
@pytest.mark.parametrize("check", ["metadata", "network", "train properties", "inference properties"])
def test_checks_of_the_model_zoo(name, check):
    assert zoo_checks.CHECKS[check](ROOT / "bundles" / name)


@every_bundle
def test_without_a_run_id_no_phantoms_are_written(name, phantoms, tmp_path, monkeypatch, caplog):
    """3D Slicer sends an empty one, and MONAI then makes all that is in the config; the images are the user's."""
    asked = []
    monkeypatch.setattr(hybrid_attention.phantoms, "write_phantom_dataset", lambda root: asked.append(root) or phantoms)
    stems = [phantoms / "benign" / f"benign ({number})" for number in (1, 2, 3)]
    cases = [{"image": f"{stem}.png", "label": f"{stem}_mask.png"} for stem in stems]
    given = {"bundle_root": str(tmp_path), "device": "cpu", "image_size": 32}
    given |= {"train#dataset#data": cases[:2], "validate#dataset#data": cases[2:]}
    parser = parsed(name, "train", **given)
    for key in ("run", "training"):
        del parser.config[key]
    if "class_names" in parser.config:
        parser.config["class_names"] = None
    parser.get_parsed_content("")
    assert [len(parser.get_parsed_content(f"{part}#dataset")) for part in ("train", "validate")] == [2, 1]
    assert asked == [] and "SYNTHETIC" not in caplog.text
    parser.get_parsed_content("split").part("train")  # what looks at them makes them
    assert asked == [f"{tmp_path}/data/phantoms"] and "SYNTHETIC" in caplog.text
    inference = parsed(name, "inference", bundle_root=str(tmp_path))
    assert inference.get_parsed_content("dataset_dir") == str(phantoms)


def inference_config(name):
    """The config for inference, with the settings that it has where no weights say others."""
    inference = ConfigParser.load_config_file(config(name, "inference"))
    parser = ConfigParser({**inference, "ckpt_path": "nowhere/model.pt"})
    asked = [key for key, value in inference.items() if "trained_setting(" in str(value)]
    return {**inference, **{key: parser.get_parsed_content(key) for key in asked}}


def constructed(definition):
    """A network's class and all of its arguments but the encoder's weights, which the trained weights hold."""
    target = locate(definition["_target_"])
    bound = inspect.signature(target).bind(**{key: value for key, value in definition.items() if key != "_target_"})
    bound.apply_defaults()
    return target, json.dumps({**bound.arguments, "encoder_weights": None}, sort_keys=True)


@every_bundle
def test_train_and_inference_describe_one_network(name, phantoms):
    train, inference = ConfigParser.load_config_file(config(name, "train")), inference_config(name)
    ours, theirs = train["network_def"], inference.get("default_network", inference["network_def"])
    assert constructed(ours) == constructed(theirs)
    assert theirs.get("encoder_weights") in (None, "random")
    assert all(isinstance(handler, dict) for handler in train["train"]["handlers"])  # which other tools extend
    assert train["val_interval"] == 1
    settings = ("row", "model", "image_size", "in_channels", "num_classes", "class_names", "edge_channel", "edge_sigma")
    assert {key: train.get(key) for key in settings} == {key: inference.get(key) for key in settings}
    stem = phantoms / "benign" / "benign (1)"
    case, seen = {"image": f"{stem}.png", "label": f"{stem}_mask.png"}, []
    for file, key in (("train", "validate#preprocessing"), ("inference", "preprocessing")):
        seen.append(parsed(name, file, image_size=48).get_parsed_content(key)(dict(case))["image"])
    assert torch.equal(seen[0], seen[1].as_tensor())


@every_bundle
def test_attention_on_request(name, phantoms, tmp_path):
    options = {"dataset_dir": str(phantoms), "output_dir": str(tmp_path), "image_size": 32, "device": "cpu"}
    options |= {"attention": True, "ckpt_path": str(tmp_path / "model.pt")}
    trained, default = ({f"{key}#tam": True} for key in ("network_def", "default_network"))
    if name != "hybrid_lite":  # which has none by default
        trained = default = {}
    inference = parsed(name, "inference", **options, **default)
    assert type(inference.get_parsed_content("handlers")[-1]).__name__ == "SaveAttention"
    evaluate = parsed(name, "train", "evaluate", **options, **trained)
    assert type(evaluate.get_parsed_content("validate#handlers")[-1]).__name__ == "SaveAttentionNumbers"


@every_bundle
def test_metadata(name):
    metadata = json.loads(config(name, "metadata.json").read_text())
    pinned = metadata["required_packages_version"]
    assert {"fire", "pyyaml"} <= set(pinned)  # of `python -m monai.bundle`
    first = json.loads(config("hybrid", "metadata.json").read_text())
    others = first["required_packages_version"]
    assert {name for name in pinned if others.get(name, pinned[name]) != pinned[name]} == set()
    assert metadata["numpy_version"] == first["numpy_version"] == "2.2.6"  # the last one for Python 3.10, the zoo's
    assert metadata["version"] == hybrid_attention.__version__
    assert isinstance(metadata["supported_apps"], dict)
    # what viewers offer as segments: the mask has one, whatever else the network gives
    assert metadata["network_data_format"]["outputs"]["pred"]["channel_def"] == {"0": "lesion"}
    size = inference_config(name)["image_size"]
    for side, tensor_name in (("inputs", "image"), ("outputs", "pred")):
        tensor = metadata["network_data_format"][side][tensor_name]
        assert 0 < len(tensor["channel_def"]) <= tensor["num_channels"]
        assert tensor["spatial_shape"] == [size, size]
        assert {"type", "format", "dtype", "value_range", "is_patch_data"} <= set(tensor)


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    """A split of two data sets: phantoms train and validate, BUS-BRA tests."""
    root = tmp_path_factory.mktemp("sets")
    write_phantom_dataset(root / "phantoms", benign=4, malignant=3, normal=0, seed=7, size=(64, 80))
    bus_bra(root / "bus_bra")
    folders = [str(root / "phantoms"), str(root / "bus_bra")]
    assert main(["splits", *folders, "--out", str(root / "own.csv")]) == 0
    table = pd.read_csv(root / "own.csv")
    table["part"] = table["dataset"].map({"busi": "train", "bus_bra": "test"})
    table.loc[table["part"].eq("train").idxmax(), "part"] = "validation"
    table[["case_id", "part"]].to_csv(root / "own.csv", index=False)
    return root / "own.csv", folders


@every_bundle
def test_several_data_sets_and_a_split_of_one_s_own(name, sets):
    split_csv, folders = sets
    parser = parsed(name, "train", dataset_dir=folders, split_csv=str(split_csv), image_size=32)
    split = parser.get_parsed_content("split")
    assert {case["dataset"] for case in split.test} == {"bus_bra"} and len(split.train) == 6
    assert "own.csv" in split.rule
    transform = parser.get_parsed_content("validate#preprocessing")
    batch = next(iter(DataLoader(Dataset([split.train[0], split.test[0]], transform), batch_size=2)))
    assert batch["dataset"] == ["busi", "bus_bra"] and batch["label"].shape == (2, 1, 32, 32)


@pytest.mark.parametrize("baseline", baselines.__all__)
def test_one_override_puts_a_baseline_into_a_bundle(baseline):
    network = {"_target_": f"hybrid_attention.networks.baselines.{baseline}"}
    if baseline == "EHFormer":
        network["backbone"] = "mit_b0"  # by default three of 81 million parameters
    if baseline in ("MTDUNet", "MultiTaskUNet"):
        network |= {"in_channels": 3, "num_classes": None}
        network = {"_target_": "hybrid_attention.networks.LesionLogit", "network": network}
    parser = parsed("hybrid", "train", network_def=network, channels_last=True, device="cpu")
    net, loss = parser.get_parsed_content("network").eval(), parser.get_parsed_content("loss")
    logits = parser.get_parsed_content("train#inferer")(torch.rand(2, 3, 64, 64), net)
    assert loss(logits, torch.ones(2, 1, 64, 64)).isfinite()
