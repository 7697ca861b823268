"""The pictures of an evaluation: a file a case and kind, where reports look for them."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch
from hybrid_attention.data.files import atomic_path
from hybrid_attention.data.grey import stretched
from hybrid_attention.data.reading import strip_suffix
from hybrid_attention.transforms import Overlay
from PIL import Image

KINDS = ("images", "truths", "masks", "probabilities", "overlays", "gradcam")
# beside the heat maps: the cases that have none, since nothing is marked in them
LEFT_OUT = "left_out.json"


def picture_path(folder: str | os.PathLike[str], kind: str, case_id: str) -> Path:
    """Return where the picture of a case lies.

    Args:
        folder: of the evaluation.
        kind: one of `KINDS`.
        case_id: `folder/name.png`; subfolders are kept.

    Returns:
        `FOLDER/KIND/folder/name.png`; of the frame `folder/loop.dcm#3` it is `FOLDER/KIND/folder/loop#3.png`.

    Raises:
        ValueError: `kind` is none of `KINDS`.
    """
    if kind not in KINDS:
        raise ValueError(f"kind of picture must be one of {', '.join(KINDS)}, got {kind!r}")
    return Path(folder) / kind / f"{strip_suffix(case_id)}.png"


def write_pictures(
    folder: str | os.PathLike[str],
    case_id: str,
    image: torch.Tensor,
    prediction: torch.Tensor,
    truth: torch.Tensor,
    probability: torch.Tensor | None = None,
) -> None:
    """Write the pictures of a case: image, truth, mask, probability map and overlay, each at the size of the arrays.

    Masks hold 0 and 255, probabilities 0 to 255 for 0 to 1; the grey values of the image are stretched to 0 to 255. A
    heat map of an earlier evaluation is removed.

    Args:
        folder: of the evaluation.
        case_id: `folder/name.png`.
        image: grey values of any range, (W, H) in MONAI's axis order.
        prediction: mask, (W, H).
        truth: mask, (W, H).
        probability: of lesion, from 0 to 1, (W, H), or None for none.
    """
    picture_path(folder, "gradcam", case_id).unlink(missing_ok=True)
    grey = np.asarray(image, dtype=np.float32)
    pictures = {
        "images": _eight_bit(stretched(grey) / 255),
        "truths": _eight_bit(np.asarray(truth) > 0.5),
        "masks": _eight_bit(np.asarray(prediction) > 0.5),
        "overlays": Overlay()(image, prediction, truth),
    }
    if probability is not None:
        pictures["probabilities"] = _eight_bit(np.asarray(probability, dtype=np.float32))
    for kind, picture in pictures.items():
        write_picture(folder, kind, case_id, picture)


def write_picture(folder: str | os.PathLike[str], kind: str, case_id: str, picture: np.ndarray) -> None:
    """Write one picture of a case by rename.

    Args:
        folder: of the evaluation.
        kind: one of `KINDS`.
        case_id: `folder/name.png`.
        picture: uint8, (H, W) or (H, W, 3), the axis order of pictures.
    """
    with atomic_path(picture_path(folder, kind, case_id)) as temporary:
        Image.fromarray(picture).save(temporary)


def _eight_bit(fraction: np.ndarray) -> np.ndarray:
    return (fraction.T * 255.0).round().astype(np.uint8)
