"""Models that predict the mask of an image, and those in one ONNX file, run by ONNX Runtime alone."""

from __future__ import annotations

import json
import os
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from concurrent.futures import Future, ThreadPoolExecutor
from numbers import Real
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from hybrid_attention.data.folders import loop_frames
from hybrid_attention.data.grey import stretched
from hybrid_attention.data.images import GreyImage
from hybrid_attention.prediction.inputs import to_image
from hybrid_attention.prediction.loops import Loop, Tracker, smooth
from hybrid_attention.prediction.result import Result, by_class

OUTPUTS = ("probability", "mask", "class_probability", "expected_dice")
AHEAD = 4  # images that are read while the network runs


class Model(ABC):
    """A model that predicts the mask of an image; `load_model` makes one.

    Predictions may run in several threads at once.

    Attributes:
        name: of the model and its weights, for reports.
        threshold: probability from which on a pixel is lesion.
        facts: what the model states about itself, by name; for reports.
    """

    name: str
    threshold: float
    facts: Mapping[str, Any] = MappingProxyType({})

    def predict(self, image: Any, spacing: Sequence[float] | None = None) -> Result:
        """Predict one image.

        Args:
            image: array (H, W) or (H, W, 3) of any integer or float type, PIL image, path, or pydicom `Dataset`; see
                `to_image`.
            spacing: height and width of a pixel in mm; None for what the image states.

        Returns:
            Mask and probability at the image's own size, classes, measurements.

        Raises:
            TypeError: `image` is of another type.
            ValueError: it has no valid pixels, or the file can't be read.

        Example:
            >>> import numpy as np, hybrid_attention
            >>> image = np.random.default_rng(0).integers(0, 255, (200, 300), dtype=np.uint8)
            >>> result = hybrid_attention.load_model().predict(image, spacing=(0.1, 0.1))
            >>> result.mask.shape, result.probability.dtype, sorted(result.classes)
            ((200, 300), dtype('float32'), ['benign', 'malignant', 'normal'])
        """
        return self.compute(to_image(image, spacing))

    def predict_many(
        self, images: Iterable[Any], spacing: Sequence[Any] | None = None, *, progress: bool = False
    ) -> Iterator[Result]:
        """Predict images, each as `predict` takes it, lazily and in order; the next are read while the network runs.

        Args:
            images: see `predict`.
            spacing: height and width of a pixel in mm, of all images or a pair (or None) for each; None for what the
                images state.
            progress: show a progress bar.

        Raises:
            ValueError: (at its turn) an image can't be read, or there are more or fewer spacings than images.
        """
        pairs: Iterable[tuple[Any, Any]]
        if spacing is None or (len(spacing) == 2 and all(isinstance(size, Real) for size in spacing)):
            pairs = ((image, spacing) for image in images)
        else:
            pairs = zip(images, spacing, strict=True)
        if progress:
            from tqdm import tqdm

            pairs = tqdm(pairs, "predict", len(images) if isinstance(images, Sized) else None, unit="image")
        with ThreadPoolExecutor(2) as readers:
            waiting: deque[Future[GreyImage]] = deque()
            for image, size in pairs:
                waiting.append(readers.submit(to_image, image, size))
                if len(waiting) > AHEAD:
                    yield self.compute(waiting.popleft().result())
            while waiting:
                yield self.compute(waiting.popleft().result())

    def predict_loop(self, frames: Any, smoothing: int = 1, progress: bool = False) -> Loop:
        """Predict the frames of one loop, and track its lesion; one frame after the other, whatever the length.

        Args:
            frames: path of a video or multi-frame DICOM file, or the images in order, each as `predict` takes it: a
                list, or an array (frames, H, W).
            smoothing: number of frames over which probabilities are averaged, odd; see `smooth`.
            progress: show a progress bar.

        Raises:
            TypeError: a frame is of another type.
            ValueError: without frames, if they differ in size or can't be read, or `smoothing` is not odd.

        Example:
            >>> loop = hybrid_attention.load_model().predict_loop("loop.dcm", smoothing=5)  # doctest: +SKIP
            >>> loop.best_frame, loop.best.overlay(), loop.row()["long_axis"]  # doctest: +SKIP
        """
        tracker = Tracker()
        if isinstance(frames, str | os.PathLike):
            try:
                frames = loop_frames(frames)
            except ValueError as error:
                raise ValueError(f"{os.fspath(frames)}: {error}") from None
        for result in smooth(self.predict_many(frames, progress=progress), smoothing, self.decide):
            tracker.add(result)
        return tracker.loop()

    @abstractmethod
    def compute(self, image: GreyImage) -> Result:
        """Predict a grey image that was read."""

    def decide(self, probability: np.ndarray) -> np.ndarray:
        """Return the mask of a probability, both (H, W)."""
        return probability >= self.threshold


class OnnxModel(Model):
    """Run a whole model, which `hybrid-attention export --whole` writes.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not such a model, or `threshold` is not between 0 and 1.
    """

    def __init__(self, path: str | os.PathLike[str], threshold: float | None = None) -> None:
        import onnxruntime

        self.path = Path(path)
        if not self.path.is_file():
            raise FileNotFoundError(f"no model at {self.path}")
        if threshold is not None and not 0 < threshold < 1:
            raise ValueError(f"the threshold must be between 0 and 1, got {threshold:g}")
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(str(self.path), options, ["CPUExecutionProvider"])
        except Exception as error:  # of the runtime's own kinds, with many lines
            raise ValueError(f"{self.path} is not a readable ONNX model") from error
        names = tuple(one.name for one in self._session.get_outputs())
        self.facts = facts = dict(self._session.get_modelmeta().custom_metadata_map)
        if names != OUTPUTS or not {"class_names", "threshold"} <= set(facts):
            fault = f"it gives {', '.join(names)} and states {', '.join(facts) or 'nothing'}"
            raise ValueError(f"{self.path} was not written by `hybrid-attention export --whole`: {fault}")
        self.class_names: list[str] = json.loads(facts["class_names"])
        self.name = f"{facts['name']} {facts['version']}, weights {facts['weights_sha256'][:12]}"
        self.threshold = float(facts["threshold"]) if threshold is None else threshold

    def compute(self, image: GreyImage) -> Result:
        """Predict a grey image that was read."""
        pixels = image.pixels
        if pixels.dtype != np.uint8:
            pixels = stretched(pixels.astype(np.float64)).round().astype(np.uint8)
        inputs = {"image": np.ascontiguousarray(pixels[..., None])}
        probability, classes = self._session.run(["probability", "class_probability"], inputs)
        return Result(image, self.decide(probability), probability, by_class(self.class_names, classes))
