import json
import sys
from pathlib import Path

import pytest
from hybrid_attention.data.hashing import case_digests, data_digest, file_digest
from hybrid_attention.engines import trained_setting, warn_of_other_settings
from hybrid_attention.engines.training_record import (
    check_against_training,
    effective_recipe,
    provenance,
    without_folder,
)

ROOT = Path(__file__).parents[2]


@pytest.fixture
def cases(tmp_path):
    made = []
    for number in range(4):
        path = tmp_path / f"{number}.png"
        path.write_text(str(number))
        made.append({"case_id": path.name, "image": str(path), "label": [str(path)]})
    return made


@pytest.fixture
def weights(tmp_path, cases):
    (tmp_path / "model.pt").write_bytes(b"weights")
    record = {
        "weights_sha256": file_digest([tmp_path / "model.pt"]),
        "recipe": {"image_size": 128},
        "images": {"training": case_digests(cases[:2]), "validation": case_digests(cases[2:3])},
    }
    (tmp_path / "training.json").write_text(json.dumps(record))
    return tmp_path / "model.pt"


def change(weights, part, **values):
    path = weights.with_name("training.json")
    record = json.loads(path.read_text())
    record[part].update(values)
    path.write_text(json.dumps(record))


@pytest.mark.parametrize(("seen", "part", "asked"), [(1, "training", "train"), (2, "validation", "validation")])
def test_seen_images_pass_only_when_they_are_asked_for(weights, cases, seen, part, asked):
    record = check_against_training(weights, cases[3:], {"image_size": 128})
    assert record["images"] == {"training": 2, "validation": 1}
    with pytest.raises(ValueError, match=rf"1 of 2 images .*{seen}\.png\) were in the {part} set of .*model\.pt"):
        check_against_training(weights, [cases[seen], cases[3]], {})
    assert check_against_training(weights, [cases[seen]], {}, asked)
    with pytest.raises(ValueError, match="1 of 1 images"):
        check_against_training(weights, [cases[3 - seen]], {}, asked)


def test_images_of_a_pre_training_and_copies_under_another_name(weights, cases, tmp_path):
    change(weights, "images", **{"pre-training": case_digests(cases[3:])})
    copy = tmp_path / "copy.png"
    copy.write_bytes((tmp_path / "3.png").read_bytes())
    with pytest.raises(ValueError, match=r"\(the first: copy.png\) were in the pre-training set"):
        check_against_training(weights, [{"case_id": copy.name, "image": str(copy)}], {})
    check_against_training(weights, cases[3:], {}, "train")


def test_other_settings(weights, cases, caplog):
    for old, new in (("peers.segresnet", "baselines.segresnet"), ("MTLDUNet", "MultiTaskUNet")):  # until 0.1
        change(weights, "recipe", network_def=f"hybrid_attention.networks.{old}")
        assert trained_setting(weights, "network_def", None) == f"hybrid_attention.networks.{new}"
    with pytest.raises(ValueError, match="image_size was 128, is 256"):
        check_against_training(weights, cases[3:], {"image_size": 256})
    warn_of_other_settings(weights, {"image_size": 128})
    assert not caplog.text
    warn_of_other_settings(weights, {"image_size": 224})
    assert "image_size was 128, is 224" in caplog.text
    assert trained_setting(weights, "image_size", 256) == 128
    assert trained_setting(weights, "threshold", 0.5) == 0.5
    assert trained_setting(weights.with_name("other.pt"), "image_size", 256) == 256


def test_without_a_record_of_these_weights(weights, cases, caplog):
    weights.write_bytes(b"other weights")
    assert check_against_training(weights, cases[:1], {}) is None
    assert f"is not the record of {weights}" in caplog.text
    weights.with_name("training.json").unlink()
    assert check_against_training(weights, cases[:1], {}) is None
    assert f"no training.json beside {weights}" in caplog.text
    assert trained_setting(weights, "image_size", 256) == 256


def test_digests_see_masks_order_and_frames(cases, tmp_path):
    assert data_digest(cases) != data_digest([{**cases[0], "label": cases[1]["label"]}, *cases[1:]])
    assert data_digest([{**cases[0], "label": cases[0]["label"][0]}]) == data_digest(cases[:1])
    loop = tmp_path / "loop.dcm"
    loop.write_bytes(b"a loop")
    frames = [{"image": f"{loop}#{number}"} for number in (1, 2)]
    assert len({*case_digests(frames), *case_digests([{"image": str(loop)}])}) == 3
    before = case_digests(frames), data_digest(frames)
    loop.write_bytes(b"another")
    assert not {*before[0]} & {*case_digests(frames)} and before[1] != data_digest(frames)


def test_recipe_of_a_command_line(tmp_path, monkeypatch):
    base, overlay = tmp_path / "tiny" / "configs" / "train.yaml", tmp_path / "cycle.yaml"
    base.parent.mkdir(parents=True)
    base.write_text(
        "output_dir: x\nnum_workers: 0\nepochs: 5\nrate: 0.1\nencoder_weights: null\n"
        "net: {_target_: N, a: true}\nlr_scheduler: {_target_: Plateau}\nrun: [$1]\ntraining: '@run'\n"
    )
    overlay.write_text("lr_scheduler: {_target_: Cycle, epochs: '@epochs'}\n")

    def recipe(*options, file=base):
        monkeypatch.setattr(sys, "argv", ["run", "--config_file", str(file), *options])
        return effective_recipe()

    assert recipe("--output_dir", "y", "--net#a", "False", "--epochs", "9") == {
        "rate": 0.1,
        "encoder_weights": None,
        "net": {"_target_": "N", "a": False},
        "lr_scheduler": {"_target_": "Plateau"},
    }
    assert recipe("--epochs", "9", file=f"['{base}','{overlay}']")["epochs"] == 9
    several = "{'resnet18': '/some/dir/r.pth', 'densenet121': 'imagenet'}"
    cut = {"resnet18": "r.pth", "densenet121": "imagenet"}
    assert recipe("--encoder_weights", several, "--rate", "$0.1/2")["encoder_weights"] == cut
    record = provenance()  # as they were given, but without the folder
    assert record["overrides"] == {"encoder_weights": cut, "rate": "$0.1/2"}
    assert list(record["config_files"]) == ["tiny/train.yaml"]
    assert recipe("--rate", "$None", "--net::a", "False")["rate"] is None
    assert recipe("--net::a", "False")["net"] == {"_target_": "N", "a": False}
    monkeypatch.setattr(sys, "argv", ["run"])
    assert effective_recipe() == {}


def test_recipe_tells_what_was_computed_in(monkeypatch):
    for config in sorted(ROOT.glob("bundles/*/configs/train.yaml")):
        monkeypatch.setattr(sys, "argv", ["run", "--config_file", str(config), "--device", "cpu"])
        for able, precision in ((True, "bf16"), (False, "fp32")):
            monkeypatch.setattr("hybrid_attention.engines.inferers.computes_bf16", lambda kind, able=able: able)
            recipe = effective_recipe()
            assert (recipe["precision"], recipe["channels_last"]) == (precision, able)
            assert recipe["network"].startswith("$")  # all else as the config has it


def test_folders_are_cut_from_paths_alone():
    kept = [0.5, "imagenet", "$0.1/2", "$@output_dir + '/history.csv'", "@net#a/b", "%shared/train.yaml::loss"]
    given = {"file": "/far/away/w.pth", "folder": "/far/away/", "nested": ("/a/b", ["/c/d"]), "kept": kept}
    cut = {"file": "w.pth", "folder": "away", "nested": ["b", ["d"]], "kept": kept}
    assert without_folder(given) == without_folder(given, relative=False) == cut
    given = {"file": "some/dir/w.pth", "files": ["./a", "b/c"]}
    assert without_folder(given) == {"file": "w.pth", "files": ["a", "c"]}
    assert without_folder(given, relative=False) == given
