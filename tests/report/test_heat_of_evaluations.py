"""Pages of real evaluations, whose Grad-CAM is at another size than the masks or absent where something is marked."""

import base64
import io
import json
import re

import numpy as np
import pytest
import torch
from hybrid_attention.evaluation import CaseScores
from hybrid_attention.explain import SaveGradCAM
from hybrid_attention.report import compare
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedEvaluator
from monai.transforms import Activationsd, AsDiscreted, Compose, CopyItemsd
from PIL import Image
from torch import nn

from tests.drawn_runs import disc

SEEN, FILE = (32, 32), (96, 64)  # (W, H) of what the network sees and of the files
LEVELS = {"benign/bright.png": 255, "benign/dim.png": 115, "normal/black.png": 0}


class Bright(nn.Module):
    """Marks what is brighter than one half: logits 0.5, -0.05 and -0.5 of the discs, and of black."""

    gradcam_layer = "features"

    def __init__(self):
        super().__init__()
        self.features = nn.Conv2d(1, 1, kernel_size=1, bias=False)
        self.features.weight.data.fill_(1)

    def forward(self, x):
        return self.features(x) - 0.5


@pytest.fixture
def evaluate(tmp_path):
    """Evaluate images of a disc each into a folder, and return it."""

    def evaluated(name, threshold, score_size):
        cases, seen = [], []
        for case_id, level in LEVELS.items():
            path = tmp_path / "images" / case_id
            path.parent.mkdir(parents=True, exist_ok=True)
            marked = disc(96, 40, 30, 12)[: FILE[0], : FILE[1]]
            grey = (level * marked).T.astype(np.uint8)
            grey[0, 0] = 1  # an image of one grey value is refused
            Image.fromarray(grey).save(path)
            Image.fromarray((255 * marked * (level > 0)).T.astype(np.uint8)).save(path.with_suffix(".mask.png"))
            case = {"case_id": case_id, "class": case_id.split("/")[0], "group": case_id, "image": str(path)}
            cases.append({**case, "label": [str(path.with_suffix(".mask.png"))], "synthetic": False})
            small = [
                torch.tensor(np.array(Image.open(file).resize(SEEN), dtype=np.float32).T)[None] / 255
                for file in (path, path.with_suffix(".mask.png"))
            ]
            seen.append({"case_id": case_id, "image": small[0], "label": (small[1] > 0.5).float()})
        network, folder = Bright(), tmp_path / name
        torch.save(network.state_dict(), tmp_path / "model.pt")
        scores = CaseScores(
            folder, cases, tmp_path / "model.pt", decision={"threshold": threshold}, score_size=score_size
        )
        SupervisedEvaluator(
            device=torch.device("cpu"),
            val_data_loader=DataLoader(Dataset(seen), batch_size=2),
            network=network,
            postprocessing=Compose(
                [
                    Activationsd("pred", sigmoid=True),
                    CopyItemsd("pred", names="probability"),
                    AsDiscreted("pred", threshold=threshold),
                ]
            ),
            val_handlers=[scores, SaveGradCAM(folder, network)],
        ).run()
        return folder

    return evaluated


def heat_of(page):
    """The heat that the page holds of each case, None where there is none."""
    texts = re.findall(r'<script type="application/json" id="case-\d+">(.*?)</script>', page.read_text())
    maps = [json.loads(text)["runs"][0]["gradcam"] for text in texts]
    return [Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))) if uri else None for uri in maps]


def size_of(folder, kind):
    return Image.open(folder / kind / "benign" / "bright.png").size


def test_heat_at_the_size_of_the_network_and_masks_at_that_of_the_file(evaluate, tmp_path):
    folder = evaluate("original", 0.5, "original")
    assert (size_of(folder, "gradcam"), size_of(folder, "masks")) == (SEEN, FILE)
    bright, *others = heat_of(compare([folder], tmp_path / "report"))
    assert others == [None, None]
    levels = np.array(bright.convert("L"), dtype=float)
    rows, columns = np.nonzero(levels > 128)
    # the page stretches it to the image
    assert (columns.mean() + 0.5) / bright.width == pytest.approx(40 / FILE[0], abs=0.02)
    assert (rows.mean() + 0.5) / bright.height == pytest.approx(30 / FILE[1], abs=0.02)


def test_no_heat_where_only_the_threshold_marks(evaluate, tmp_path):
    folder = evaluate("low", 0.4, "network")
    masks = {case: np.array(Image.open(folder / "masks" / case)) > 0 for case in LEVELS}
    assert masks["benign/dim.png"].sum() > 50
    bright, *others = heat_of(compare([folder], tmp_path / "report"))
    assert bright is not None and others == [None, None]
    (folder / "gradcam" / "benign" / "bright.png").unlink()
    (folder / "gradcam" / "benign" / "dim.png").write_bytes((folder / "masks" / "benign" / "dim.png").read_bytes())
    with pytest.raises(ValueError, match=r"low: 1 picture gone, the first: .*gradcam/benign/bright\.png"):
        compare([folder], tmp_path / "report")
