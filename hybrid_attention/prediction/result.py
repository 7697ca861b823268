"""What a model predicts for one image."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from hybrid_attention.data.images import COMPRESSION, GreyImage
from hybrid_attention.data.names import result_path
from hybrid_attention.data.nifti import SliceGeometry
from hybrid_attention.data.writing import atomic_path
from numpy.typing import ArrayLike
from PIL import Image

PROBABILITY_PREFIX = "probability_"
PICTURES = ("mask", "overlay")  # what is written unless other pictures are asked for
_MAPS = ("mask", "probability", "uncertainty")  # of the image's pixels, as they are stored in its file
ALL_PICTURES = (*_MAPS, "overlay", "gradcam", "panels", "attention")  # that any run of this package writes


@dataclass(frozen=True, eq=False)
class Result:
    """Prediction for one image.

    Attributes:
        image: the image, and what its file says about it.
        mask: (H, W), bool, True where the lesion is; empty where the image is classified as normal.
        probability: of lesion, (H, W), float32.
        classes: probability of each class by name; empty for a model that does not classify.
        pictures: others that were asked of the model, in colour and of any size, uint8, by name; None where there is
            nothing to show.
    """

    image: GreyImage
    mask: np.ndarray
    probability: np.ndarray
    classes: Mapping[str, float] = field(default_factory=dict)
    pictures: Mapping[str, np.ndarray | None] = field(default_factory=dict)

    @property
    def predicted_class(self) -> str | None:
        """The most probable class."""
        return max(self.classes, key=lambda name: self.classes[name]) if self.classes else None

    @cached_property
    def expected_dice(self) -> float:
        """Estimate of the mask's Dice, see `expected_dice`; low values ask for a look at the image."""
        return expected_dice(self.probability, self.mask)

    @property
    def uncertainty(self) -> np.ndarray:
        """Entropy of each pixel's probability in bits, from 0 to 1, (H, W), float32."""
        from scipy.special import entr

        chance = self.probability.astype(np.float64).clip(0, 1)
        return ((entr(chance) + entr(1 - chance)) / np.log(2)).clip(0, 1).astype(np.float32)

    @cached_property
    def measurements(self) -> dict[str, float | int | str | None]:
        """Size, shape and echo of the lesion, see `measure_lesion`; in mm where the spacing is known."""
        from hybrid_attention.prediction.measurements import measure_lesion

        spacing = self.image.spacing
        unit, pixels = "mm" if spacing else "pixel", self.image.pixels
        return measure_lesion(self.mask, spacing or self.image.proportions, unit, pixels)

    def overlay(self, truth: ArrayLike | None = None) -> np.ndarray:
        """Draw the outline of the mask over the image, or its errors against a true mask; see `draw_overlay`."""
        from hybrid_attention.prediction.overlay import draw_overlay

        return draw_overlay(self.image.pixels, self.mask, truth)

    def row(self) -> dict[str, Any]:
        """Return the prediction as plain values, a row of `predictions.csv`; undefined values are None."""
        height, width = self.mask.shape
        row = {
            "width": width,
            "height": height,
            "lesion_pixels": int(self.mask.sum()),
            "lesion_area_fraction": round(float(self.mask.mean()), 6),
            **self.measurements,
            "expected_dice": round(self.expected_dice, 6),
        }
        return row | class_columns(self.classes)

    def check_outputs(self, outputs: Sequence[str]) -> None:
        """Raise a ValueError if `save` can't write one of the outputs."""
        known = (*_MAPS, "overlay", *self.pictures)
        if isinstance(outputs, str) or not set(outputs) <= set(known):
            hint = "gradcam only of a model that was loaded with gradcam=True"
            raise ValueError(f"outputs must be a list of {', '.join(known)}, got {outputs!r}; {hint}")

    def save(
        self,
        folder: str | os.PathLike[str],
        name: str,
        *,
        outputs: Sequence[str] = PICTURES,
        truth: np.ndarray | None = None,
    ) -> dict[str, Any]:
        """Write mask, overlay and other pictures.

        An image `a/b.png` gives `a/b_mask.png` (0 and 255) and `a/b_overlay.png` of its own size; a NIfTI image
        `a/b_mask.nii.gz` (0 and 1, stored like the image); a frame `a/b.dcm#3` `a/b#3_mask.png`. For DICOM, mask and
        maps have the size of the whole frame, the overlay that of the tissue. Files appear by rename.

        Args:
            folder: where the files go.
            name: of the image; its subfolders are kept.
            outputs: what to write: "mask", "overlay", "probability" and "uncertainty" (both 0 to 255 for 0 to 1; NIfTI:
                float32), and names of `pictures`.
            truth: ground-truth mask, whose differences the overlay shows.

        Returns:
            `row`, with the name and the paths of mask and overlay before it.
        """
        self.check_outputs(outputs)
        paths = {}
        for what in outputs:
            map_of_slice = what in _MAPS and isinstance(self.image.geometry, SliceGeometry)
            paths[what] = result_path(folder, name, what, ".nii.gz" if map_of_slice else ".png")
            picture = self.overlay(truth) if what == "overlay" else self.pictures.get(what)
            if what not in _MAPS and picture is None:
                paths[what].unlink(missing_ok=True)  # of an earlier call
                continue
            with atomic_path(paths[what], durable=False) as temporary:
                if picture is None:
                    self.image.write(getattr(self, what), temporary)
                else:
                    Image.fromarray(picture).save(temporary, compress_level=COMPRESSION)
        below = {what: paths[what].relative_to(Path(folder)).as_posix() for what in PICTURES if what in paths}
        return {"case_id": name, **below, **self.row()}


def class_columns(classes: Mapping[str, float]) -> dict[str, Any]:
    """Return the class columns of a table, `predicted_class` and `probability_<class>`; none without classes."""
    if not classes:
        return {}
    values = {PROBABILITY_PREFIX + name: round(float(value), 6) for name, value in classes.items()}
    return {"predicted_class": max(classes, key=lambda name: classes[name]), **values}


def by_class(names: Sequence[str], probabilities: Sequence[float]) -> dict[str, float]:
    """Return class probabilities by name; a ValueError if they differ in number from the names."""
    values = [float(value) for value in probabilities]
    if len(values) != len(names):
        raise ValueError(f"the network gives {len(values)} class probabilities for the classes {', '.join(names)}")
    return dict(zip(names, values, strict=True))


def expected_dice(probability: ArrayLike, mask: ArrayLike) -> float:
    """Estimate the Dice of a mask from its probabilities, without ground truth.

    2 · (sum of the probabilities inside the mask) / (pixels of the mask + sum of all probabilities): the ratio of the
    expected values, close to the expected ratio if pixels are independent. The estimate is as good as the
    probabilities: calibrate them (`TemperatureScaling`).

    An empty mask gets 0, as it scores on images with a lesion. Masks are lesion above 0.5; shapes are any.

    Reference:
        B. L. C. Borges, B. M. Pacheco, D. Silva, "Soft Dice Confidence: A Near-Optimal Confidence Estimator for
        Selective Prediction in Semantic Segmentation", arXiv 2402.10665.

    Raises:
        ValueError: the shapes differ, or a probability is NaN or out of range.
    """
    chance, lesion = np.asarray(probability, dtype=np.float64), np.asarray(mask) > 0.5
    if chance.shape != lesion.shape:
        raise ValueError(f"probability and mask must have the same shape, got {chance.shape} and {lesion.shape}")
    if not ((chance > -1e-4) & (chance < 1 + 1e-4)).all():  # false for NaN as well
        raise ValueError(f"probabilities must be from 0 to 1 (after the sigmoid), got {chance.min()} to {chance.max()}")
    chance = chance.clip(0, 1)  # interpolation rounds
    inside = float(chance[lesion].sum())
    return 2 * inside / (int(lesion.sum()) + float(chance.sum())) if lesion.any() else 0.0
