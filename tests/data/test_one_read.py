"""How often files are opened: an image for its header, so that bad files are listed early, and for its pixels."""

import sys
from collections import Counter
from pathlib import Path

import hybrid_attention
import pytest
import torch
from hybrid_attention.data import datalist, split_cases
from hybrid_attention.data.hashing import case_digests, data_digest
from hybrid_attention.evaluation import CaseScores
from hybrid_attention.phantoms import write_phantom_dataset
from hybrid_attention.prediction.predict_folder import predict_folder
from hybrid_attention.transforms import NamingCompose, network_input, preprocessing, validation_postprocessing
from monai.bundle import ConfigParser
from monai.data import CacheDataset, DataLoader
from monai.engines import SupervisedEvaluator

from tests.bundles.commands import config

OPENED = Counter()


@pytest.fixture(scope="module", autouse=True)
def hook():
    def count(event, arguments):
        if event == "open" and isinstance(arguments[0], str | Path):
            OPENED[str(arguments[0])] += 1

    sys.addaudithook(count)  # which can't be removed


@pytest.fixture
def folder(tmp_path):
    root = write_phantom_dataset(tmp_path / "data", benign=3, malignant=2, normal=0, size=(64, 80))
    OPENED.clear()
    return root


def opened(paths):
    """How often each of the files was opened."""
    return {OPENED[str(path)] for path in paths}


def images(cases):
    return [case["image"] for case in cases]


def cached(cases):
    return CacheDataset(cases, NamingCompose([*preprocessing(32), *network_input()]), progress=False)


def test_prediction(folder, tmp_path):
    rows = predict_folder(hybrid_attention.load_model(), folder, tmp_path / "out")
    assert opened(folder / row["case_id"] for row in rows) == {2}  # header, pixels


def test_inference_of_a_bundle(folder, tmp_path):
    parser = ConfigParser()
    parser.read_config(config("hybrid_lite", "inference"))
    switches = {"image_size": 64, "device": "cpu", "panels": True, "gradcam_of": "mask"}
    parser.update({"dataset_dir": str(folder), "output_dir": str(tmp_path / "out"), **switches})
    parser.get_parsed_content("evaluator").run()
    assert len(list((tmp_path / "out").rglob("*_panels.png"))) == 5
    assert opened(folder.rglob("*).png")) == {2}  # header, pixels


def test_start_of_a_training(folder):
    split = split_cases(datalist(folder), num_folds=3)
    for part in (split.train, split.validation):
        cached(part)
        case_digests(part)
    data_digest(split.train)
    assert opened(images([*split.train, *split.validation])) == {3}  # header, pixels, digest for the record
    assert opened(images(split.test)) == {1}
    # pixels twice, since the area of the lesions decides what the images are before any are loaded; digest
    assert opened(path for case in split.train for path in case["label"]) == {3}


def test_evaluation(folder, tmp_path):
    cases, network = datalist(folder), torch.nn.Conv2d(1, 1, 1)
    torch.save(network.state_dict(), tmp_path / "model.pt")
    SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=DataLoader(cached(cases), batch_size=2),
        network=network,
        postprocessing=validation_postprocessing(),
        val_handlers=[CaseScores(tmp_path / "out", cases, tmp_path / "model.pt")],
    ).run()
    assert (tmp_path / "out" / "summary.json").is_file()
    assert opened(images(cases)) == {3}  # header, pixels, digest for the summary
