"""The handler of an inference run, with batches of several images."""

import csv

import numpy as np
import torch
from hybrid_attention.deploy.save_predictions import SavePredictions
from ignite.engine import Engine
from PIL import Image


def test_each_image_of_a_batch_has_its_own_files(tmp_path):
    names, out = ["a.png", "b.png", "c.png"], tmp_path / "out"
    masks = np.random.default_rng(0).random((3, 6, 8)) > 0.5
    outputs = []
    for name, mask, malignant in zip(names, masks, (0.9, 0.2, 0.6), strict=True):
        Image.fromarray(np.arange(48, dtype=np.uint8).reshape(6, 8)).save(tmp_path / name)
        plane = torch.from_numpy(mask.astype(np.float32))[None]
        classes = torch.tensor([1 - malignant, malignant])
        outputs.append({"pred": plane, "probability": plane, "class_probability": classes})
    engine = Engine(lambda engine, batch: [outputs[names.index(case["case_id"])] for case in batch])
    SavePredictions(out, ["benign", "malignant"]).attach(engine)
    cases = [{"case_id": name, "source": str(tmp_path / name)} for name in names]
    engine.run([cases[:2], cases[2:]])
    with open(out / "predictions.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["case_id"] for row in rows] == names
    assert [row["predicted_class"] for row in rows] == ["malignant", "benign", "malignant"]
    for row, mask in zip(rows, masks, strict=True):
        np.testing.assert_array_equal(np.asarray(Image.open(out / row["mask"])), mask * 255)
