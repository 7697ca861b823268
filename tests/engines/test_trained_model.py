import json
import shutil

import pytest
import torch
from hybrid_attention.engines import TrainedModel, find_weights
from hybrid_attention.engines.weights import weights_digest

from tests.bundles.commands import bundle, config

NETWORK = "{'_target_': 'hybrid_attention.networks.baselines.residual_unet', 'channels': [4, 8, 16]}"
OPTIONS = ["--image_size", 48, "--batch_size", 4, "--epochs", 2, "--learning_rate", 0.01]


@pytest.fixture(scope="module")
def masks(phantoms, tmp_path_factory):
    out = tmp_path_factory.mktemp("masks")
    options = ["--dataset_dir", phantoms, "--output_dir", out, *OPTIONS, "--network_def", NETWORK]
    train, evaluate = config("hybrid", "train"), config("hybrid", "evaluate")
    bundle("training", [train], *options)
    bundle("evaluating", [train, evaluate], *options)
    return out


@pytest.fixture(scope="module")
def classes(phantoms, tmp_path_factory):
    out = tmp_path_factory.mktemp("classes")
    options = ["--dataset_dir", phantoms, "--output_dir", out, *OPTIONS, "--network_def#channels", "[16, 32]"]
    bundle("training", [config("mtl_oca", "train")], *options)
    return out


def test_predictions_are_those_of_the_evaluation(masks, phantoms):
    run = TrainedModel(masks, phantoms, "cpu")
    predictions = run.predict(run.cases("test"))
    rows = (masks / "evaluation" / "per_case.csv").read_text().splitlines()
    names = rows[0].split(",")
    scored = {row.split(",")[0]: dict(zip(names, row.split(","), strict=True)) for row in rows[1:]}
    assert {one.case["case_id"] for one in predictions} == set(scored)
    for one in predictions:
        assert one.image.shape == (3, 48, 48)
        marked = one.probability >= 0.5
        row = scored[one.case["case_id"]]
        assert int((marked & (one.target == 1)).sum()) == int(row["tp"])
        assert int((marked & (one.target == 0)).sum()) == int(row["fp"])
        assert one.case["image"].endswith(one.case["case_id"])  # as in the data list, not as transformed


def test_places_with_signs_of_the_configs(masks, phantoms, tmp_path):
    (tmp_path / "study#7").symlink_to(masks)
    (tmp_path / "images#1").symlink_to(phantoms)
    run = TrainedModel(tmp_path / "study#7", tmp_path / "images#1", "cpu")
    assert str(tmp_path / "images#1") in run.cases("test")[0]["image"]


def test_flips_change_the_probabilities(masks, phantoms):
    run = TrainedModel(masks, phantoms, "cpu")
    cases = run.cases("test")[:2]
    plain, mirrored, both = (run.predict(cases, flips)[0].probability for flips in ([[]], [[0]], [[], [0]]))
    assert not torch.equal(plain, mirrored)
    torch.testing.assert_close(both, (plain + mirrored) / 2, atol=1e-5, rtol=1e-4)


def test_a_disturbance_sees_the_image_as_read(masks, phantoms):
    run = TrainedModel(masks, phantoms, "cpu")
    cases = run.cases("test")[:1]
    seen = []

    def mirrored(data):
        seen.append(data["image"].shape)
        return {**data, "image": 3 + 2 * data["image"].flip(1)}  # the scaling after it takes the factor away again

    disturbed, plain = run.predict(cases, disturbance=mirrored)[0], run.predict(cases)[0]
    assert tuple(seen[0]) == (1, 96, 128)  # (1, H, W) of the file, not of the network
    assert torch.equal(disturbed.target, plain.target)
    torch.testing.assert_close(disturbed.image, plain.image.flip(1), atol=1e-4, rtol=0)


def test_a_network_with_a_class_head(classes, phantoms):
    run = TrainedModel(find_weights(classes), phantoms, "cpu")
    one = run.predict(run.cases("test"), [[], [0]])[0]
    assert one.probability.shape == (1, 48, 48)


def test_cases_and_record_of_the_training(masks, phantoms):
    run = TrainedModel(masks, phantoms, "cpu")
    cases = {part: run.cases(part) for part in ("train", "validation", "test")}
    assert run.training["images"] == {"training": len(cases["train"]), "validation": len(cases["validation"])}
    assert run.training["recipe"]["image_size"] == 48
    assert run.training["weights_sha256"] == weights_digest(run.weights)
    groups = [{case["group"] for case in part} for part in cases.values()]
    assert all(groups) and sum(map(len, groups)) == len(set.union(*groups))


def test_a_run_of_several_processes_opens_in_one(masks, phantoms, tmp_path):
    folder = shutil.copytree(masks / "models", tmp_path / "models")
    record = json.loads((folder / "training.json").read_text())
    record["recipe"]["network"] = {
        "_target_": "torch.nn.parallel.DistributedDataParallel",
        "module": record["recipe"]["network"],
    }
    (folder / "training.json").write_text(json.dumps(record))
    assert TrainedModel(tmp_path, phantoms, "cpu").predict(TrainedModel(masks, phantoms, "cpu").cases("test")[:1])


def test_other_images_are_refused(masks, phantoms, tmp_path):
    folder = shutil.copytree(phantoms, tmp_path / "others")
    training = TrainedModel(masks, phantoms, "cpu")
    seen = {case["case_id"] for case in training.cases("train")}
    tested = next(case["case_id"] for case in training.cases("test") if case["case_id"].startswith("benign"))
    learned = next(name for name in seen if name.startswith("benign"))
    shutil.copyfile(phantoms / learned, folder / tested)
    with pytest.raises(ValueError, match="were in the training set"):
        TrainedModel(masks, folder, "cpu").cases("test")


def test_what_is_missing_is_said(masks, phantoms, tmp_path):
    with pytest.raises(FileNotFoundError, match="no weights at"):
        TrainedModel(tmp_path, phantoms)
    shutil.copyfile(find_weights(masks), tmp_path / "model.pt")
    with pytest.raises(FileNotFoundError, match="has no record of its training"):
        TrainedModel(tmp_path, phantoms)
    record = json.loads((masks / "models" / "training.json").read_text())
    (tmp_path / "training.json").write_text(json.dumps({**record, "recipe": {}}))
    with pytest.raises(ValueError, match="has no config"):
        TrainedModel(tmp_path, phantoms)
