import shutil

import pytest
import torch
from hybrid_attention.engines import TrainedModel, find_weights
from hybrid_attention.engines.bundles import bundle_folder


@pytest.fixture
def run(trained_run, phantoms):
    return TrainedModel(trained_run, phantoms, "cpu")


def test_places_with_signs_of_the_configs(trained_run, phantoms, tmp_path):
    (tmp_path / "study#7").symlink_to(trained_run)
    (tmp_path / "images#1").symlink_to(phantoms)
    run = TrainedModel(tmp_path / "study#7", tmp_path / "images#1", "cpu")
    assert str(tmp_path / "images#1") in run.cases("test")[0]["image"]


def test_flips_and_disturbances(run):
    cases, seen = run.cases("test")[:2], []
    plain, mirrored, both = (run.predict(cases, flips)[0] for flips in ([[]], [[0]], [[], [0]]))
    assert not torch.equal(plain.probability, mirrored.probability)
    mean = (plain.probability + mirrored.probability) / 2
    torch.testing.assert_close(both.probability, mean, atol=1e-5, rtol=1e-4)

    def turned(data):
        seen.append(data["image"].shape)
        return {**data, "image": 3 + 2 * data["image"].flip(1)}  # the scaling after it takes the factor away again

    disturbed = run.predict(cases[:1], disturbance=turned)[0]
    assert tuple(seen[0]) == (1, 96, 128)  # (1, H, W) of the file, not of the network
    assert torch.equal(disturbed.target, plain.target)
    assert disturbed.case == cases[0]  # as in the data list, not as transformed
    torch.testing.assert_close(disturbed.image, plain.image.flip(1), atol=1e-4, rtol=0)


def test_a_released_network_with_a_class_head(phantoms):
    run = TrainedModel(bundle_folder("mtl_oca"), phantoms, "cpu")
    one = run.predict(run.cases("test")[:1], [[], [0]])[0]
    assert one.probability.shape == (1, 128, 128)


def test_a_run_of_several_processes_opens_in_one(run, edited_run, phantoms):
    wrapped = {"_target_": "torch.nn.parallel.DistributedDataParallel", "module": run.recipe["network"]}
    assert TrainedModel(edited_run(network=wrapped), phantoms, "cpu").predict(run.cases("test")[:1])


def test_other_images_are_refused(run, trained_run, phantoms, tmp_path):
    folder = shutil.copytree(phantoms, tmp_path / "others")
    learned, tested = (
        next(case["case_id"] for case in run.cases(part) if case["class"] == "benign") for part in ("train", "test")
    )
    shutil.copyfile(phantoms / learned, folder / tested)
    with pytest.raises(ValueError, match="were in the training set"):
        TrainedModel(trained_run, folder, "cpu").cases("test")


def test_what_is_missing_is_said(trained_run, phantoms, tmp_path):
    shutil.copyfile(find_weights(trained_run), tmp_path / "model.pt")
    with pytest.raises(FileNotFoundError, match="has no record of its training"):
        TrainedModel(tmp_path, phantoms)
    record = find_weights(trained_run).with_name("training.json").read_text()
    (tmp_path / "training.json").write_text(record.replace('"validate":', '"other":'))
    with pytest.raises(ValueError, match="has no config"):
        TrainedModel(tmp_path, phantoms)
