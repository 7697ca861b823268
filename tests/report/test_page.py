import base64
import io
import json

import numpy as np
import pytest
from hybrid_attention.engines import load_weights
from hybrid_attention.evaluation import read_evaluation
from hybrid_attention.evaluation.results import picture_path
from hybrid_attention.report import compare
from hybrid_attention.report.matched_runs import match_runs
from hybrid_attention.report.page import embedded_cases, picture_kinds
from PIL import Image

from tests.bundles.commands import parsed

FIRST = "benign/benign (0).png"


def opened(uri):
    return Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1])))


def embedded(*folders):
    comparison = match_runs([read_evaluation(folder) for folder in folders])
    kinds = {run.name: picture_kinds(run) for run in comparison.runs}
    return [json.loads(text) for text in embedded_cases(comparison, kinds)]


def test_pictures_keep_their_pixels_and_levels(make_run):
    folder = make_run("a", error=3, gradcam=True)
    cases = embedded(folder, make_run("without", pictures=False))
    first = cases[0]["runs"][0]
    for kind, uri in (("masks", first["mask"]), ("truths", cases[0]["truth"])):
        there = opened(uri)
        assert there.mode == "1"
        assert np.array_equal(np.array(there), np.array(Image.open(picture_path(folder, kind, FIRST))) > 127)
    for name in ("probability", "gradcam"):
        levels = np.array(opened(first[name]).convert("L"), dtype=int)
        assert levels[2, 2] == pytest.approx(25, abs=4) and levels[64 // 3, 35] == pytest.approx(230, abs=4)
    assert [bool(case["runs"][0]["gradcam"]) for case in cases][2:4] == [True, False]  # the fourth mask is empty
    assert cases[0]["runs"][1] is None
    # heat in the size of the network, which the page stretches to the image
    path = picture_path(folder, "gradcam", FIRST)
    Image.open(path).resize((48, 32)).save(path)
    heat = opened(embedded(folder)[0]["runs"][0]["gradcam"])
    rows, columns = np.nonzero(np.array(heat.convert("L"), dtype=int) > 128)
    assert (columns.mean() + 0.5) / heat.width == pytest.approx(35.5 / 64, abs=0.02)
    assert (rows.mean() + 0.5) / heat.height == pytest.approx((64 / 3 + 0.5) / 64, abs=0.02)
    # at most 256 and 128 pixels
    first = embedded(make_run("large", cases=1, size=400))[0]
    pictures = (first["image"], first["truth"], first["runs"][0]["mask"], first["runs"][0]["probability"])
    assert [opened(uri).size for uri in pictures] == [(256, 256)] * 3 + [(128, 128)]
    first = embedded(make_run("small", size=32), make_run("larger"))[0]
    assert opened(first["image"]).size == (64, 64) and opened(first["runs"][0]["mask"]).size == (32, 32)


def test_missing_and_damaged_pictures(make_run):
    folder = make_run("a", gradcam=True)
    picture_path(folder, "gradcam", FIRST).unlink()
    listed = folder / "gradcam" / "left_out.json"
    with pytest.raises(ValueError, match=r"a: 1 picture missing.*gradcam/benign/benign \(0\)\.png"):
        embedded(folder)
    listed.write_text(json.dumps([FIRST, *json.loads(listed.read_text())]))
    for _ in range(2):
        assert [bool(case["runs"][0]["gradcam"]) for case in embedded(folder)][:2] == [False, True]
        listed.unlink(missing_ok=True)  # as in an evaluation of an older version
    path = picture_path(folder, "masks", FIRST)
    picture = Image.open(path).copy()
    picture.putpixel((0, 0), 255)
    picture.save(path)
    with pytest.raises(ValueError, match=r"masks/benign/benign \(0\)\.png has \d+ lesion pixels"):
        embedded(folder)
    path.unlink()
    picture_path(folder, "probabilities", FIRST).unlink()
    with pytest.raises(ValueError, match=r"a: 2 pictures missing.*masks/benign/benign \(0\)\.png"):
        embedded(folder)


def test_masks_in_the_size_of_the_file_and_heat_in_that_of_the_network(trained_run, phantoms, tmp_path):
    weights, places = trained_run / "models" / "model.pt", {"dataset_dir": phantoms, "evaluation_dir": tmp_path / "run"}
    network = json.loads(weights.with_name("training.json").read_text())["recipe"]["network_def"]
    settings = {"image_size": 64, "network_def": network, "lesions_only": False, "device": "cpu", "gradcam": True}
    settings |= {name: str(place) for name, place in {**places, "ckpt_path": weights}.items()}
    parser = parsed("hybrid", "train", "evaluate", score_size="original", **settings)
    load_weights(parser.get_parsed_content("network_def"), weights)
    parser.get_parsed_content("validate#evaluator").run()
    page = compare([tmp_path / "run"], tmp_path / "report").read_text()
    heats = [case["runs"][0] for case in embedded(tmp_path / "run") if case["runs"][0]["gradcam"]]
    assert opened(heats[0]["mask"]).size == (128, 96) and opened(heats[0]["gradcam"]).size == (64, 64)
    assert all(run["gradcam"] in page for run in heats)
