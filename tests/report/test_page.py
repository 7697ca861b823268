import base64
import io
import json

import numpy as np
import pytest
from hybrid_attention.evaluation import read_evaluation
from hybrid_attention.evaluation.results import picture_path
from hybrid_attention.report.matching import match_runs
from hybrid_attention.report.page import embedded_cases, picture_kinds
from PIL import Image

from tests.drawn_runs import speckled

FIRST = "benign/benign (0).png"


def opened(uri):
    return Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1])))


def embedded(*folders):
    return [json.loads(text) for text in texts(*folders)]


def texts(*folders):
    comparison = match_runs([read_evaluation(folder) for folder in folders])
    return list(embedded_cases(comparison, {run.name: picture_kinds(run) for run in comparison.runs}))


def test_masks_are_embedded_pixel_for_pixel(make_run):
    folder = make_run("a", error=3)
    first = embedded(folder)[0]
    for kind, uri in (("masks", first["runs"][0]["mask"]), ("truths", first["truth"])):
        there = opened(uri)
        assert there.mode == "1"
        assert np.array_equal(np.array(there), np.array(Image.open(picture_path(folder, kind, FIRST))) > 127)


def test_maps_keep_their_levels(make_run):
    first = embedded(make_run("a", gradcam=True))[0]["runs"][0]
    for name in ("probability", "gradcam"):
        levels = np.array(opened(first[name]).convert("L"), dtype=int)
        assert levels[2, 2] == pytest.approx(25, abs=4)
        assert levels[64 // 3, 32] == pytest.approx(230, abs=4)


def test_sizes_are_limited(make_run):
    first = embedded(make_run("large", cases=1, size=400))[0]
    assert opened(first["image"]).size == opened(first["truth"]).size == (256, 256)
    assert opened(first["runs"][0]["mask"]).size == (256, 256)
    assert opened(first["runs"][0]["probability"]).size == (128, 128)


def test_image_and_truth_come_from_the_run_with_the_largest(make_run):
    first = embedded(make_run("small", size=32), make_run("large"))[0]
    assert opened(first["image"]).size == (64, 64)
    assert opened(first["runs"][0]["mask"]).size == (32, 32)


def test_a_run_without_pictures(make_run):
    first = embedded(make_run("with"), make_run("without", pictures=False))[0]
    assert first["runs"][1] is None
    assert first["runs"][0]["gradcam"] == ""


def test_kinds(make_run):
    assert picture_kinds(read_evaluation(make_run("none", pictures=False))) == ()
    assert picture_kinds(read_evaluation(make_run("plain"))) == ("images", "truths", "masks", "probabilities")
    folder = make_run("some", gradcam=True)
    assert picture_kinds(read_evaluation(folder))[-1] == "gradcam"
    # nothing is marked in the fourth, so that nothing is explained
    assert [bool(case["runs"][0]["gradcam"]) for case in embedded(folder)][2:4] == [True, False]


def test_a_lost_grad_cam_is_noticed(make_run):
    folder = make_run("a", gradcam=True)
    picture_path(folder, "gradcam", FIRST).unlink()
    with pytest.raises(ValueError, match=r"a: 1 picture gone, the first: .*gradcam/benign/benign \(0\)\.png"):
        picture_kinds(read_evaluation(folder))


@pytest.mark.parametrize("listed", [True, False])
def test_grad_cam_of_any_case_may_be_absent(make_run, listed):
    folder = make_run("a", gradcam=True)
    picture_path(folder, "gradcam", FIRST).unlink()
    path = folder / "gradcam" / "left_out.json"
    if listed:
        path.write_text(json.dumps([FIRST, *json.loads(path.read_text())]))
    else:
        path.unlink()  # an evaluation of an older version: it doesn't say
    assert [bool(case["runs"][0]["gradcam"]) for case in embedded(folder)][:2] == [False, True]


def test_lost_pictures_are_counted(make_run):
    folder = make_run("a")
    picture_path(folder, "masks", FIRST).unlink()
    picture_path(folder, "probabilities", FIRST).unlink()
    with pytest.raises(ValueError, match=r"a: 2 pictures gone, the first: .*masks/benign/benign \(0\)\.png"):
        picture_kinds(read_evaluation(folder))


def test_a_damaged_picture_is_named(make_run):
    folder = make_run("a")
    path = picture_path(folder, "truths", FIRST)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ValueError, match=r"truths/benign/benign \(0\)\.png can't be read"):
        embedded(folder)
    path.write_text("no picture")
    with pytest.raises(ValueError, match="can't be read"):
        embedded(folder)


def test_pictures_of_another_evaluation_are_noticed(make_run):
    folder = make_run("a")
    path = picture_path(folder, "masks", FIRST)
    picture = Image.open(path).copy()
    picture.putpixel((0, 0), 255)
    picture.save(path)
    with pytest.raises(ValueError, match="are of another evaluation"):
        embedded(folder)


def test_sizes_of_a_case_must_agree(make_run):
    folder = make_run("a")
    path = picture_path(folder, "truths", FIRST)
    Image.open(path).resize((20, 20)).save(path)
    with pytest.raises(ValueError, match=r"truths/.* \(20, 20\) pixels"):
        embedded(folder)


def test_bytes_a_case_and_run(tmp_path, make_run):
    """Ten runs of 650 cases must stay under 60 MB, even of speckle, which compresses worst."""
    folders = [speckled(make_run(name, cases=3, size=256, gradcam=True)) for name in "abc"]
    cases = texts(*folders)
    shared = sum(len(case) - sum(len(json.dumps(run)) for run in json.loads(case)["runs"]) for case in cases) / 3
    own = sum(len(json.dumps(run)) for case in cases for run in json.loads(case)["runs"]) / 9
    assert own > 500  # something was written
    assert 650 * shared + 6500 * own < 60e6
