"""What other tools ask of every bundle: MONAI's bundle commands, the model zoo, MONAI Label."""

import json
import re
import subprocess

import hybrid_attention
import pytest
import torch
from hybrid_attention.engines import save_weights
from monai.bundle import ConfigParser, ConfigWorkflow, verify_net_in_out

from tests.bundles.commands import BUNDLES, ROOT, config

pytestmark = pytest.mark.parametrize("name", BUNDLES)


def loaded(path):
    parser = ConfigParser()
    parser.read_config(path)
    return parser


def test_files(name):
    folder = ROOT / "bundles" / name
    files = ["LICENSE", "docs/README.md", "docs/data_license.txt", "configs/metadata.json", "configs/logging.conf"]
    files += [f"configs/{file}.yaml" for file in ("train", "evaluate", "inference", "multi_gpu_train")]
    assert [file for file in files if not (folder / file).is_file()] == []


@pytest.mark.parametrize("workflow", ["train", "inference"])
def test_properties_that_other_tools_ask_for(name, workflow, phantoms, tmp_path):
    options = {"dataset_dir": str(phantoms), "output_dir": str(tmp_path)}
    if workflow == "inference":
        options["ckpt_path"] = str(tmp_path / "model.pt")
        save_weights(loaded(config(name, "inference")).get_parsed_content("network_def"), options["ckpt_path"])
    made = ConfigWorkflow(
        workflow_type=workflow.removesuffix("ence"),
        config_file=str(config(name, workflow)),
        meta_file=str(config(name, "metadata.json")),
        logging_file=False,
        **options,
    )
    made.initialize()
    assert not made.check_properties()
    assert workflow != "train" or made.val_interval == 1


def test_without_a_run_id_no_phantoms_are_written(name, phantoms, tmp_path, monkeypatch, caplog):
    """3D Slicer sends an empty one, and MONAI then makes all that is in the config; the images are the user's."""
    asked = []
    monkeypatch.setattr(hybrid_attention.phantoms, "write_phantom_dataset", lambda root: asked.append(root) or phantoms)
    stems = [phantoms / "benign" / f"benign ({number})" for number in (1, 2, 3)]
    cases = [{"image": f"{stem}.png", "label": f"{stem}_mask.png"} for stem in stems]
    parser = loaded(config(name, "train"))
    for key in ("run", "training"):
        del parser.config[key]
    if "class_names" in parser.config:
        parser.config["class_names"] = None
    given = {"bundle_root": str(tmp_path), "device": "cpu", "image_size": 32}
    parser.update({**given, "train#dataset#data": cases[:2], "validate#dataset#data": cases[2:]})
    parser.get_parsed_content("")
    assert [len(parser.get_parsed_content(f"{part}#dataset")) for part in ("train", "validate")] == [2, 1]
    assert asked == [] and "SYNTHETIC" not in caplog.text
    parser.get_parsed_content("split").part("train")  # what looks at them makes them
    assert asked == [f"{tmp_path}/data/phantoms"] and "SYNTHETIC" in caplog.text


def test_train_handlers_are_dicts_that_other_tools_extend(name):
    train = ConfigParser.load_config_file(config(name, "train"))
    assert all(isinstance(handler, dict) for handler in train["train"]["handlers"])


def blocks_of_six(path):
    """Six lines in a row that all hold settings, not references and expressions, which join parts."""
    lines = [re.sub(r"\s+#.*", "", line).strip() for line in path.read_text().splitlines()]
    lines = [line for line in lines if line and not line.startswith("#")]
    blocks = {tuple(lines[start : start + 6]) for start in range(len(lines) - 5)}
    joins = re.compile(r'@|"\$|hybrid_attention\.|:$|>-$')
    return {block for block in blocks if not any(joins.search(line) for line in block)}


def test_no_block_of_six_settings_stands_in_configs_of_two_bundles(name):
    others = [path for path in ROOT.glob("bundles/*/configs/*.yaml") if path.parents[1].name != name]
    copied = {}
    for path in (ROOT / "bundles" / name / "configs").glob("*.yaml"):
        for other in [*others, *ROOT.glob("scripts/experiments/overlays/*.yaml")]:
            shared = blocks_of_six(path) & blocks_of_six(other)
            if shared:
                copied[path, other] = shared
    assert copied == {}


def inference_config(name):
    """The config for inference, with the settings that it has where no weights say others."""
    inference = ConfigParser.load_config_file(config(name, "inference"))
    parser = ConfigParser({**inference, "ckpt_path": "nowhere/model.pt"})
    asked = [key for key, value in inference.items() if "trained_setting(" in str(value)]
    return {**inference, **{key: parser.get_parsed_content(key) for key in asked}}


def test_train_and_inference_describe_one_network(name, phantoms):
    train, inference = ConfigParser.load_config_file(config(name, "train")), inference_config(name)
    ours, theirs = train["network_def"], inference.get("default_network", inference["network_def"])
    assert {**ours, "encoder_weights": None} == {**theirs, "encoder_weights": None}
    assert theirs.get("encoder_weights") is None  # the trained weights hold the encoder
    settings = ("row", "model", "image_size", "in_channels", "num_classes", "class_names", "edge_channel", "edge_sigma")
    assert {key: train.get(key) for key in settings} == {key: inference.get(key) for key in settings}
    case = {
        "image": str(phantoms / "benign" / "benign (1).png"),
        "label": str(phantoms / "benign" / "benign (1)_mask.png"),
    }
    seen = []
    for file, key in (("train", "validate#preprocessing"), ("inference", "preprocessing")):
        parser = loaded(config(name, file))
        parser.update({"image_size": 48})
        seen.append(parser.get_parsed_content(key)(dict(case))["image"])
    assert torch.equal(seen[0], seen[1].as_tensor())


def test_metadata(name):
    metadata = json.loads(config(name, "metadata.json").read_text())
    required = "schema version monai_version pytorch_version numpy_version required_packages_version task description"
    assert set(required.split()) | {"authors", "copyright", "network_data_format", "changelog"} <= set(metadata)
    pinned = metadata["required_packages_version"]
    assert {"fire", "pyyaml"} <= set(pinned)  # of `python -m monai.bundle`
    first = json.loads(config("hybrid", "metadata.json").read_text())
    others = first["required_packages_version"]
    assert {name for name in pinned if others.get(name, pinned[name]) != pinned[name]} == set()
    assert metadata["numpy_version"] == first["numpy_version"] == "2.2.6"  # the last one for Python 3.10, the zoo's
    assert metadata["version"] in metadata["changelog"]
    assert metadata["version"] == hybrid_attention.__version__
    assert isinstance(metadata["supported_apps"], dict)
    # what viewers offer as segments: the mask has one, whatever else the network gives
    assert metadata["network_data_format"]["outputs"]["pred"]["channel_def"] == {"0": "lesion"}
    size = inference_config(name)["image_size"]
    for side, tensor_name in (("inputs", "image"), ("outputs", "pred")):
        tensor = metadata["network_data_format"][side][tensor_name]
        assert 0 < len(tensor["channel_def"]) <= tensor["num_channels"]
        assert tensor["spatial_shape"] == [size, size]
        assert {"type", "format", "num_channels", "spatial_shape", "dtype", "value_range", "is_patch_data"} <= set(
            tensor
        )


def test_network_takes_and_gives_what_the_metadata_say(name):
    verify_net_in_out(
        net_id="network_def",
        meta_file=str(config(name, "metadata.json")),
        config_file=str(config(name, "inference")),
        device="cpu",
    )


def test_runs_leave_the_checkout_clean(name):
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    names = ("data/x", "predictions/x", "evaluation/x", "evaluation_train/x", "tensorboard/x", "history.csv")
    names += ("models/model.pt", "models/checkpoint.pt", "models/training.json")
    written = [f"bundles/{name}/{file}" for file in names] + ["output/x"]
    done = subprocess.run(["git", "check-ignore", *written], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.split() == written
