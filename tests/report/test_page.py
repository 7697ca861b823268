import base64
import io
import json
import re

import numpy as np
import pytest
import torch
from hybrid_attention.evaluation import CaseScores, read_evaluation
from hybrid_attention.evaluation.results import picture_path
from hybrid_attention.explain import SaveGradCAM
from hybrid_attention.report import compare
from hybrid_attention.report.matched_runs import match_runs
from hybrid_attention.report.page import embedded_cases, picture_kinds
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedEvaluator
from monai.transforms import Activationsd, AsDiscreted, Compose, CopyItemsd
from PIL import Image
from torch import nn

from tests.evaluation.drawn_runs import disc

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


SEEN, FILE = (32, 32), (96, 64)  # width and height of what the network sees and of the files
LEVELS = {"benign/bright.png": 255, "benign/dim.png": 115, "normal/black.png": 0}


class Bright(nn.Module):
    """Lesion is what is brighter than one half: logits 0.5, -0.05 and -0.5 of the discs, and of black."""

    gradcam_layer = "features"

    def __init__(self):
        super().__init__()
        self.features = nn.Identity()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x):
        return self.scale * self.features(x) - 0.5


def test_heat_in_the_size_of_the_network_and_masks_in_that_of_the_file(tmp_path):
    """Images with one disc each; of the dim one only the threshold 0.4 predicts a lesion, without heat."""
    cases, seen, out = [], [], tmp_path / "evaluation"
    lesion = disc(96, 40, 30, 12)[: FILE[1], : FILE[0]]
    for case_id, level in LEVELS.items():
        path = tmp_path / "images" / case_id
        path.parent.mkdir(parents=True, exist_ok=True)
        grey = (level * lesion).astype(np.uint8)
        grey[0, 0] = 1  # images of a single grey value are rejected
        mask = path.with_suffix(".mask.png")
        Image.fromarray(grey).save(path)
        Image.fromarray((255 * lesion * (level > 0)).astype(np.uint8)).save(mask)
        facts = {"case_id": case_id, "class": case_id.split("/")[0], "group": case_id, "synthetic": False}
        cases.append({**facts, "image": str(path), "label": [str(mask)]})
        small = [torch.tensor(np.array(Image.open(file).resize(SEEN)))[None] / 255 for file in (path, mask)]
        seen.append({"case_id": case_id, "image": small[0], "label": (small[1] > 0.5).float()})
    network, decision = Bright(), {"threshold": 0.4}
    torch.save(network.state_dict(), tmp_path / "model.pt")
    post = [Activationsd("pred", sigmoid=True), CopyItemsd("pred", names="probability")]
    post += [AsDiscreted("pred", **decision)]
    scores = CaseScores(out, cases, tmp_path / "model.pt", decision=decision, score_size="original")
    SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=DataLoader(Dataset(seen), batch_size=2),
        network=network,
        postprocessing=Compose(post),
        val_handlers=[scores, SaveGradCAM(out, network)],
    ).run()
    sizes = [Image.open(picture_path(out, kind, "benign/bright.png")).size for kind in ("gradcam", "masks")]
    assert sizes == [SEEN, FILE]
    assert (np.array(Image.open(out / "masks" / "benign" / "dim.png")) > 0).sum() > 50
    page = compare([out], tmp_path / "report").read_text()
    texts = re.findall(r'<script type="application/json" id="case-\d+">(.*?)</script>', page)
    bright, *others = (json.loads(text)["runs"][0]["gradcam"] for text in texts)
    assert others == ["", ""]
    heat = opened(bright)
    rows, columns = np.nonzero(np.array(heat.convert("L"), dtype=float) > 128)
    # the page stretches it to the image
    assert (columns.mean() + 0.5) / heat.width == pytest.approx(40 / FILE[0], abs=0.02)
    assert (rows.mean() + 0.5) / heat.height == pytest.approx(30 / FILE[1], abs=0.02)
