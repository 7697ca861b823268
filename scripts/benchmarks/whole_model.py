"""Compare a bundle's whole ONNX file with its own inference pipeline on the test images of a fold.

    python scripts/benchmarks/whole_model.py BUSI BUSBRA --out docs/results/whole_model.json

Both predict each test image with a lesion at its own size, in fp32. Dice is given as the bundle predicts (images
classified as normal are cleared) and without the clearing, as in the tables of scores.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from hybrid_attention.data import datalist, split_cases
from hybrid_attention.data.masks import merged_mask, read_mask
from hybrid_attention.data.reading import read_grey
from hybrid_attention.deploy.bundles import bundle_folder, inference_parser, weights_of
from hybrid_attention.deploy.whole import whole_model
from monai.utils import ensure_tuple


def main() -> None:
    """Read the command line, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", nargs="+", help="folders of the data sets that the weights were trained on")
    parser.add_argument("--bundle", default="hybrid_lite")
    parser.add_argument("--out", required=True, type=Path)
    options = parser.parse_args()
    measured = measure(options.bundle, options.data)
    options.out.write_text(json.dumps(measured, indent=2) + "\n", encoding="utf-8")


def measure(bundle: str, folders: list[str]) -> dict[str, object]:
    """Return the figures of each data set, of the fold that the weights were not trained on.

    Args:
        bundle: name.
        folders: of the data sets.
    """
    folder = bundle_folder(bundle)
    config = inference_parser(folder, ckpt_path=str(weights_of(folder)), normal_threshold=None)
    prepare, finish = config.get_parsed_content("preprocessing"), config.get_parsed_content("postprocessing")
    whole, facts = whole_model(bundle)
    limit, whole.normal_threshold = whole.normal_threshold, None
    result: dict[str, object] = {"weights_sha256": facts["weights_sha256"], "score_size": "original"}
    for name in folders:
        cases = [case for case in split_cases(datalist(name), 0, 5).test if case["label"]]
        print(name, len(cases))
        rows = []
        for case in cases:
            grey = read_grey(case["image"])
            if grey.dtype != np.uint8:
                raise ValueError(f"{case['image']} is not 8-bit")
            prepared = prepare({"image": case["image"]})
            with torch.no_grad():
                logits = whole.network(prepared["image"][None])[0]
                probability, _, classes, _ = whole(torch.from_numpy(grey.copy())[..., None])
            prepared["pred"] = type(prepared["image"])(logits, meta=prepared["image"].meta)
            pipeline = finish(prepared)
            truth = merged_mask([read_mask(path) for path in ensure_tuple(case["label"])])
            both = [np.asarray(pipeline["probability"])[0], probability.numpy()]
            normal = [float(one[-1]) for one in (pipeline["class_probability"], classes)]
            rows.append([*_differences(*both), *(_dice(one >= 0.5, truth) for one in both), *normal])
        table = np.array(rows)
        pipeline_dice, whole_dice = table[:, 3], table[:, 4]
        cleared = [
            np.where(table[:, column] >= limit, 0, dice) for column, dice in ((5, pipeline_dice), (6, whole_dice))
        ]
        result[Path(name).name] = {
            "images": len(rows),
            "mean_difference": float(table[:, 0].mean()),
            "pixels_within_1_255": float(table[:, 1].mean()),
            "equal_mask_pixels": float(table[:, 2].mean()),
            "dice_pipeline": float(pipeline_dice.mean()),
            "dice_whole": float(whole_dice.mean()),
            "dice_pipeline_normal_cleared": float(cleared[0].mean()),
            "dice_whole_normal_cleared": float(cleared[1].mean()),
            "dice_differs_at_most": float(np.abs(pipeline_dice - whole_dice).max()),
            "cleared_pipeline": int((table[:, 5] >= limit).sum()),
            "cleared_whole": int((table[:, 6] >= limit).sum()),
        }
        print(json.dumps(result[Path(name).name], indent=2))
    return result


def _differences(one: np.ndarray, other: np.ndarray) -> tuple[float, float, float]:
    apart = np.abs(one - other)
    return float(apart.mean()), float((apart <= 1 / 255).mean()), float(((one >= 0.5) == (other >= 0.5)).mean())


def _dice(mask: np.ndarray, truth: np.ndarray) -> float:
    return 2 * float((mask & (truth > 0)).sum()) / float(mask.sum() + (truth > 0).sum())


if __name__ == "__main__":
    main()
