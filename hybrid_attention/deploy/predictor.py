"""Predict images by a bundle's `inference.yaml` and trained weights."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import torch
from hybrid_attention.data.images import GreyImage
from hybrid_attention.deploy.backends import with_backend
from hybrid_attention.deploy.save_predictions import SavePredictions, model_name
from hybrid_attention.engines.bundles import bundle_folder, inference_parser, trained_bundle, weights_of
from hybrid_attention.engines.command_line import root_cause
from hybrid_attention.engines.multi_task import CLASS_PROBABILITY, plane
from hybrid_attention.engines.weights import load_weights
from hybrid_attention.prediction.model import Model
from hybrid_attention.prediction.result import Result, by_class
from hybrid_attention.transforms.chains import PROBABILITY
from monai.data import MetaTensor
from monai.transforms import Compose, EnsureChannelFirstd

RUN = "run"
SETTINGS = ("flips", "temperature", "threshold")


@dataclass(frozen=True)
class Options:
    """Options of a prediction, named as in the bundles' configs for inference.

    Args:
        threshold: probability threshold, between 0 and 1; None for that of `inference_settings`, else of the config.
        inference_settings: `inference_settings.json` of `hybrid-attention calibrate`, with flips, temperature and
            threshold; None for those of the config.
        precision: see `PrecisionInferer`.
        frames: frames of multi-frame DICOM files: "all", "middle", or a list of numbers from 1.
        uncertainty: also write maps of the entropy per pixel.
        gradcam: also write Grad-CAM heat maps.
        dicom_seg: also write a DICOM segmentation for each DICOM file with a lesion.
        dicom_sr: also write these and a structured report for each.
        pdf: also write `predictions.pdf`, one page per image.
    """

    threshold: float | None = None
    inference_settings: str | os.PathLike[str] | None = None
    precision: str = "auto"
    frames: str | Sequence[int] = "all"
    uncertainty: bool = False
    gradcam: bool = False
    dicom_seg: bool = False
    dicom_sr: bool = False
    pdf: bool = False

    def __post_init__(self) -> None:
        """Check the values."""
        if self.threshold is not None and not 0 < self.threshold < 1:
            raise ValueError(f"the threshold must be between 0 and 1, got {self.threshold:g}")

    def settings(self) -> dict[str, Any]:
        """Return the keys of a config for inference that are to be replaced."""
        given = dict(vars(self))
        path = given.pop("inference_settings")
        given |= {} if path is None else _read_settings(path)
        if self.threshold is not None:
            given["threshold"] = self.threshold
        return {key: value for key, value in given.items() if value is not None}


def predict(
    images: str | os.PathLike[str],
    out: str | os.PathLike[str],
    bundle: str | os.PathLike[str] | None = None,
    weights: str | os.PathLike[str] | None = None,
    backend: str = "auto",
    options: Options | None = None,
) -> list[dict[str, Any]]:
    """Segment an image or a folder of images by a bundle's `inference.yaml`.

    For each image `NAME` it writes `NAME_mask.png`, `NAME_overlay.png` and `NAME_probability.png` of its size, and a
    row of `predictions.csv`; see `SavePredictions`.

    Args:
        images: PNG, JPEG, TIFF, WebP, BMP, GIF, JPEG 2000, NIfTI or DICOM file, or a folder of them.
        out: folder of the results.
        bundle: name or folder, see `bundle_folder`; None for that of the weights, else `hybrid_lite`.
        weights: see `weights_of`.
        backend: see `with_backend`.
        options: see `Options`.

    Returns:
        The rows of the table.

    Raises:
        FileNotFoundError: there are no images, or no weights.
        ValueError: images are unreadable (all are named), weights do not fit, or an option is out of range.
        ImportError: a package that the images or the backend need is not installed.
    """
    folder = bundle_folder(trained_bundle(weights) if bundle is None else bundle)
    chosen = options or Options()
    settings = {
        "dataset_dir": os.fspath(images),
        "output_dir": os.fspath(out),
        "ckpt_path": str(weights_of(folder, weights)),
        "backend": backend,
        "probability": True,
        "panels": False,
        **chosen.settings(),
    }
    parser = inference_parser(folder, **settings)
    try:
        parser.get_parsed_content(RUN)
    except Exception as error:
        raise root_cause(error) from error
    (saved,) = (one for one in parser.get_parsed_content("handlers") if isinstance(one, SavePredictions))
    rows: list[dict[str, Any]] = saved.rows
    return rows


class BundleModel(Model):
    """Predict images by a bundle's `inference.yaml` and trained weights, with torch.

    Args:
        bundle: name or folder, see `bundle_folder`; None for that of the weights.
        weights: see `weights_of`.
        backend: see `with_backend`.
        device: where the network runs; None for a GPU if there is one.
        threshold: probability threshold; None for that of the config.

    Raises:
        FileNotFoundError: there are no weights.
        ValueError: the weights do not fit, or an argument is out of range.
    """

    def __init__(
        self,
        bundle: str | os.PathLike[str] | None = None,
        weights: str | os.PathLike[str] | None = None,
        backend: str = "auto",
        device: str | None = None,
        threshold: float | None = None,
    ) -> None:
        folder = bundle_folder(trained_bundle(weights) if bundle is None else bundle)
        path = weights_of(folder, weights)
        given = Options(threshold=threshold).settings() if threshold is not None else {}
        place = {} if device is None else {"device": f"$torch.device({device!r})"}
        parser = inference_parser(folder, ckpt_path=str(path), **given, **place)
        load_weights(parser.get_parsed_content("network_def"), path)
        self.name = model_name(folder.name, path)
        precision = parser.get_parsed_content("precision")
        self._network = with_backend(backend, parser.get_parsed_content("placed_network"), precision, images=1)
        self._device: torch.device = parser.get_parsed_content("device")
        self._inferer: Any = parser.get_parsed_content("inferer")
        chain = parser.get_parsed_content("preprocessing").transforms
        start = next(index for index, one in enumerate(chain) if isinstance(one, EnsureChannelFirstd))
        self._preprocessing = Compose(chain[start + 1 :])  # what follows the reading of a file
        self._postprocessing: Any = parser.get_parsed_content("postprocessing")
        self._lock = Lock()  # some runtimes compute one image at a time
        self.threshold = float(parser.get_parsed_content("threshold"))
        names = parser.get_parsed_content("class_names", default=None)
        self.class_names: list[str] = list(names or [])

    def compute(self, image: GreyImage) -> Result:
        """Predict a grey image that was read."""
        data = self._preprocessing({"image": MetaTensor(torch.from_numpy(image.pixels.astype(np.float32))[None])})
        with self._lock, torch.no_grad():
            data["pred"] = self._inferer(data["image"][None].to(self._device), self._network)[0].cpu()
        output = self._postprocessing(data)
        classes = by_class(self.class_names, output[CLASS_PROBABILITY]) if self.class_names else {}
        probability = plane(output[PROBABILITY]).astype(np.float32)
        return Result(image, plane(output["pred"]) > 0.5, probability, classes)


def _read_settings(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read flips, temperature and threshold."""
    try:
        settings = json.loads(Path(path).read_bytes())  # of any encoding
    except ValueError as error:
        raise ValueError(f"{path} is not an inference_settings.json of hybrid-attention calibrate: {error}") from None
    if not isinstance(settings, dict) or set(settings) != set(SETTINGS):
        raise ValueError(
            f"{path} is not an inference_settings.json of hybrid-attention calibrate, which has {', '.join(SETTINGS)}"
        )
    flips, temperature, threshold = (settings[name] for name in SETTINGS)  # plain values: the config evaluates text
    numbers = all(isinstance(number, int | float) for number in (temperature, threshold))
    lists = isinstance(flips, list) and all(isinstance(axes, list) and set(axes) <= {0, 1} for axes in flips)
    if not lists or not numbers or temperature <= 0 or not 0 < threshold < 1:
        raise ValueError(f"{path} is not an inference_settings.json of hybrid-attention calibrate: {settings}")
    return settings
