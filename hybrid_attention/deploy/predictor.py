"""Models that predict images by a bundle's `inference.yaml` and trained weights."""

from __future__ import annotations

import json
import os
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import torch
from hybrid_attention.data.images import GreyImage
from hybrid_attention.deploy.backends import CONVERTED, TORCH, with_backend
from hybrid_attention.deploy.save_predictions import model_name
from hybrid_attention.engines.bundles import bundle_folder, inference_parser, trained_bundle, weights_of
from hybrid_attention.engines.command_line import root_cause
from hybrid_attention.engines.inferers import choose_precision
from hybrid_attention.engines.multi_task import CLASS_PROBABILITY, plane
from hybrid_attention.engines.weights import load_weights, weights_digest
from hybrid_attention.explain.grad_cam import EmptyMaskError, grad_cam
from hybrid_attention.explain.handlers import at_size, output_explained
from hybrid_attention.explain.pictures import heat_overlay
from hybrid_attention.prediction.model import Model
from hybrid_attention.prediction.result import Result, by_class
from hybrid_attention.transforms.chains import PROBABILITY
from monai.bundle import ConfigParser
from monai.data import MetaTensor
from monai.transforms import AsDiscreted, Compose, EnsureChannelFirstd
from monai.utils import CommonKeys

SETTINGS = ("flips", "temperature", "threshold")


class BundleModel(Model):
    """Predict images by a bundle's `inference.yaml` and trained weights, with torch.

    Args:
        bundle: name or folder, see `bundle_folder`; None for that of the weights.
        weights: see `weights_of`.
        backend, device, threshold, precision, inference_settings, images, gradcam: see `load_model`.
    """

    def __init__(
        self,
        bundle: str | os.PathLike[str] | None = None,
        weights: str | os.PathLike[str] | None = None,
        backend: str = "auto",
        device: str | None = None,
        threshold: float | None = None,
        precision: str = "auto",
        inference_settings: str | os.PathLike[str] | None = None,
        images: int = 1,
        gradcam: bool = False,
    ) -> None:
        if threshold is not None and not 0 < threshold < 1:
            raise ValueError(f"the threshold must be between 0 and 1, got {threshold:g}")
        folder = bundle_folder(trained_bundle(weights) if bundle is None else bundle)
        path = weights_of(folder, weights)
        settings = {} if inference_settings is None else _read_settings(inference_settings)
        device = "cpu" if device is None and backend in CONVERTED else device
        settings |= {} if threshold is None else {"threshold": threshold}
        settings |= {} if device is None else {"device": f"$torch.device({device!r})"}
        parser = inference_parser(folder, ckpt_path=str(path), precision=precision, **settings)
        try:
            load_weights(parser.get_parsed_content("network_def"), path)
            self._build(parser)
            network = parser.get_parsed_content("placed_network")
            precision = parser.get_parsed_content("precision")
            self._network = with_backend(backend, network, precision, images)
        except Exception as error:  # MONAI wraps those of the config's expressions
            raise root_cause(error) from error
        self.name = model_name(folder.name, path)
        self.facts = {
            "name": folder.name,
            "weights_sha256": weights_digest(path),
            "flips": parser.get_parsed_content("flips"),
            "temperature": parser.get_parsed_content("temperature"),
            "backend": getattr(self._network, "backend", TORCH),
            "precision": getattr(self._network, "precision", choose_precision(precision, self._device)),
        }
        self._gradcam = gradcam
        self._lock = Lock()  # some runtimes compute one image at a time

    def _build(self, parser: ConfigParser) -> None:
        def part(name: str, default: Any = None) -> Any:
            return parser.get_parsed_content(name, default=default)

        self._device: torch.device = part("device")
        self._inferer: Any = part("inferer")
        chain = part("preprocessing").transforms
        start = next(index for index, one in enumerate(chain) if isinstance(one, EnsureChannelFirstd))
        self._preprocessing = Compose(chain[start + 1 :])  # what follows the reading of a file
        self._postprocessing: Any = part("postprocessing")
        chain = self._postprocessing.transforms
        start = next(index for index, one in enumerate(chain) if isinstance(one, AsDiscreted))
        self._decision = Compose(chain[start:])  # from a probability to the mask
        self.threshold = float(part("threshold"))
        self.class_names: list[str] = list(part("class_names") or [])
        self._explained = {
            "network": part("multi_task_network") or part("network_def"),
            "layer": part("gradcam_layer"),
            "output": output_explained(part("gradcam_of")),
        }

    def compute(self, image: GreyImage) -> Result:
        """Predict a grey image that was read."""
        data = self._preprocessing({"image": MetaTensor(torch.from_numpy(image.pixels.astype(np.float32))[None])})
        batch = data["image"][None].to(self._device)
        with self._lock:
            with torch.no_grad():
                data[CommonKeys.PRED] = self._inferer(batch, self._network)[0].cpu()
            pictures = {"gradcam": self._heat_map(batch, image)} if self._gradcam else {}
        output = self._postprocessing(data)
        classes = by_class(self.class_names, output[CLASS_PROBABILITY]) if self.class_names else {}
        probability = plane(output[PROBABILITY]).astype(np.float32)
        return Result(image, plane(output[CommonKeys.PRED]) > 0.5, probability, classes, pictures)

    def decide(self, probability: np.ndarray) -> np.ndarray:
        """Return the mask of a probability, both (H, W), cleaned as the bundle's config says."""
        output = self._decision({CommonKeys.PRED: torch.from_numpy(probability)[None]})
        return plane(output[CommonKeys.PRED]) > 0.5

    def _heat_map(self, batch: torch.Tensor, image: GreyImage) -> np.ndarray | None:
        """Draw the heat map over the image; None if no lesion is predicted, whose mask it would explain."""
        try:
            heat = grad_cam(image=batch, **self._explained)[0].cpu()
        except EmptyMaskError:
            return None
        return heat_overlay(image.pixels, at_size(heat, image.pixels.shape).clamp(0, 1))


def _read_settings(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read flips, temperature and threshold."""
    fault = f"{path} is not an inference_settings.json of hybrid-attention calibrate"
    try:
        settings = json.loads(Path(path).read_bytes())  # of any encoding
    except ValueError as error:
        raise ValueError(f"{fault}: {error}") from None
    if not isinstance(settings, dict) or set(settings) != set(SETTINGS):
        raise ValueError(f"{fault}, which has {', '.join(SETTINGS)}")
    flips, temperature, threshold = (settings[name] for name in SETTINGS)  # plain values: the config evaluates text
    numbers = all(isinstance(number, int | float) for number in (temperature, threshold))
    lists = isinstance(flips, list) and all(isinstance(axes, list) and set(axes) <= {0, 1} for axes in flips)
    if not lists or not numbers or temperature <= 0 or not 0 < threshold < 1:
        raise ValueError(f"{fault}: {settings}")
    return settings
