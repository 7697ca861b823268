"""Training on what is labelled in MONAI Label's datastore, over REST, on the archives as they are."""

import io
import json

import pytest
from PIL import Image

from tests.bundles.commands import BUNDLES
from tests.label.label_server import Server


def label_all(server, images, masks):
    """Images of all kinds with their masks, and one without."""
    for stem, mask in masks.items():
        server.add_image(stem, next(images.glob(f"{stem}.*")))
        assert server.add_label(stem, mask).json() == {"image": stem, "label": stem}
    server.add_image("unlabelled", images / "rgb.png")


@pytest.fixture(scope="module")
def app(make_app, bundles):
    """Training replaces weights: an app of its own."""
    return make_app(bundles)


@pytest.fixture(scope="module")
def server(label_python, app, images, masks):
    with Server(label_python, app, BUNDLES) as running:
        label_all(running, images, masks)
        yield running


def size_of_mask(server, model):
    return Image.open(io.BytesIO(server.infer(model, "unlabelled")[2])).size


@pytest.mark.parametrize("name", ["attention_unet", "explainable", "hybrid"])
def test_training_replaces_the_weights(server, app, images, name):
    models = app / "model" / name / "models"
    before = (models / "model.pt").read_bytes()
    size_of_mask(server, name)  # from here on the server holds these weights
    log_before = len(server.log.read_text())
    # as 3D Slicer sends it; MONAI then makes all that is in the config, but the images are the user's alone
    options = {"run_id": ""} if name == "attention_unet" else {}
    status, lines = server.train(name, **options)
    assert status == "DONE", lines
    assert (models / "model.pt").read_bytes() != before
    record = json.loads((models / "training.json").read_text())
    assert {part: len(found) for part, found in record["images"].items()} == {"training": 6, "validation": 1}
    assert record["recipe"]["image_size"] == {"attention_unet": 256, "explainable": 224, "hybrid": 256}[name]
    assert record["provenance"]["commit"] is None  # the code came from the archive, not from this checkout
    assert not (models.parent / "data").exists()
    assert size_of_mask(server, name) == Image.open(images / "rgb.png").size
    log = server.log.read_text()[log_before:]
    assert "Reload model from cache" in log and "SYNTHETIC" not in log


def test_what_is_missing_is_said(server, app, masks):
    status, lines = server.train("mtl_oca")
    assert status == "ERROR"
    assert "The cause: ValueError: 7 images have no class" in lines
    assert "set class_names to null in train.yaml and inference.yaml" in lines
    assert [path.name for path in (app / "model/mtl_oca/models").iterdir()] == ["model.pt"]
    for stem in list(masks)[2:]:
        server.remove_label(stem)
    status, lines = server.train("attention_unet")
    assert status == "ERROR"
    assert "The cause: ValueError: 2 images to train on and 0 to validate on are too few" in lines
