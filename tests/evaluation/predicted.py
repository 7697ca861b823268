"""Predictions of runs that were never trained: discs, predictions with known errors, and a threshold as a network."""

import numpy as np
import torch
from hybrid_attention.engines import Prediction
from hybrid_attention.evaluation.calibrate import Calibration
from hybrid_attention.evaluation.ensemble import FLIPS, EnsemblePredictions, score_variant, variants_of
from PIL import Image


def discs(cases=6, size=32, sharpness=1.0, runs=("net",), normal=(), shift=1.0, first=0, missed=True):
    """Discs of growing radius. Each pass draws them `shift` pixels further aside, so that passes disagree at the edge.

    The logit of a pixel is its distance from the drawn edge times `sharpness`. If `missed`, the last case has no
    prediction.
    """
    across, depth = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    target, probability, rows = [], {(run, flip): [] for run in runs for flip in FLIPS}, []
    for case in range(cases):
        number = first + case
        row = {"case_id": f"benign/benign ({number}).png", "class": "benign", "group": str(number // 2)}
        rows.append({**row, "synthetic": True})
        radius, centre = 4.0 + case, size / 2 - 2
        distance = ((across - centre) ** 2 + (depth - centre) ** 2).sqrt()
        target.append((distance <= radius).float() * (case not in normal))
        for place, key in enumerate(probability):
            aside = ((across - centre - shift * place) ** 2 + (depth - centre) ** 2).sqrt()
            logit = sharpness * (radius + 0.25 - aside) if case < cases - missed else torch.full_like(distance, -5.0)
            probability[key].append(logit.sigmoid())
    images = torch.rand(cases, size, size, generator=torch.Generator().manual_seed(0))
    stacked = {key: torch.stack(planes) for key, planes in probability.items()}
    return EnsemblePredictions(rows, images, torch.stack(target), stacked)


def found(runs=("net",), best="mirror", **settings):
    """What `calibrate` gives, for figures and pictures."""
    validation, test = discs(runs=runs, first=100, **settings), discs(runs=runs, **settings)
    scores = {one.name: score_variant(one, validation, test, 0.1) for one in variants_of(runs)}
    summary = {"synthetic_data": True, "cases": {"validation": {"with_lesion": 6}}}
    return Calibration(scores, "as is", best, test, summary, "")


def write_case(folder, name, level, lesion):
    """Write a grey image whose lesion has a grey level, and its mask; return the case."""
    mask = np.zeros((24, 32), np.uint8)  # (H, W)
    mask[8:16, 8:16] = 255 * lesion
    paths = [str(folder / f"{name}{what}.png") for what in ("", "_mask")]
    for path, plane in zip(paths, (np.where(mask, level, 120), mask), strict=True):
        Image.fromarray(plane.astype(np.uint8)).save(path)
    case = {"case_id": f"benign/{name}.png", "class": "benign", "group": str(int(name) // 2), "synthetic": True}
    return {**case, "image": paths[0], "label": paths[1:]}


class DarkIsLesion:
    """Stands for a trained network: lesion is where every `step`-th pixel is darker than 60 of 255.

    Its probability is exactly one half, which is lesion in the networks' own postprocessing, too.
    """

    def __init__(self, folder, cases=(), step=1, chance=0.5):
        self.weights, self.training = folder / "model.pt", {"recipe": {"image_size": 128}, "images": {"training": 7}}
        self.weights.write_bytes(b"weights")
        self.seen, self._cases, self.step, self.chance = [], list(cases), step, chance

    def cases(self, part):
        return self._cases if part == "test" else []

    def predict(self, cases, disturbance=None):
        self.seen.append(disturbance)
        predictions = []
        for case in cases:
            image, label = (
                torch.from_numpy(np.array(Image.open(path)))[None] for path in (case["image"], *case["label"])
            )
            data = {**case, "image": image.float(), "label": label}
            seen = (disturbance(data) if disturbance else data)["image"]
            dark = self.chance * (seen[:, :: self.step, :: self.step] < 60)
            predictions.append(Prediction(case, seen, dark, (label > 0).float()))
        return predictions
