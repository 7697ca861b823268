"""Loops: probabilities smoothed over frames, one lesion tracked from frame to frame, its best frame and a summary."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from hybrid_attention.data.names import split_frame
from hybrid_attention.prediction.result import Result, class_columns
from scipy import ndimage

_OF_ALL = ("lesions", "total_area")  # measures of the lesions of an image
GAP = 5  # frames in a row in which a lesion may be missed
Decide = Callable[[np.ndarray], np.ndarray]  # makes the mask of a probability, both (H, W)


def number_lesions(mask: np.ndarray) -> np.ndarray:
    """Number the lesions of a mask, (H, W), from 1 for the largest; pixels that touch at edges or corners are one."""
    labels, count = ndimage.label(mask, structure=np.ones((3, 3)))
    numbers = np.zeros(count + 1, dtype=np.uint16)
    numbers[1 + np.argsort(-np.bincount(labels.ravel())[1:], kind="stable")] = np.arange(1, count + 1)
    return numbers[labels]


def smooth(results: Iterable[Result], frames: int, decide: Decide) -> Iterator[Result]:
    """Average the probabilities of a loop over neighbouring frames, lazily.

    The probabilities of each pixel and of the classes become their means over a frame and the same number of frames
    before and after it, as many as there are at both ends of the loop. The lesion must not move by more than its size
    in that time.

    Args:
        results: of all frames of one loop, in order.
        frames: in the mean, an odd number; 1 changes nothing.
        decide: makes the mask of a mean probability; see `Model.decide`.

    Raises:
        ValueError: `frames` is not odd and positive, or the frames differ in size.
    """
    if frames < 1 or frames % 2 == 0:
        raise ValueError(f"smoothing needs an odd number of frames, as 5, got {frames}")
    return _smoothed(results, frames // 2, decide) if frames > 1 else iter(results)


def _smoothed(results: Iterable[Result], reach: int, decide: Decide) -> Iterator[Result]:
    window: list[Result] = []
    centre = 0  # in the window
    for result in results:
        window.append(result)
        if result.mask.shape != window[0].mask.shape:
            raise ValueError(f"the frames of a loop differ in size: {window[0].mask.shape} and {result.mask.shape}")
        if len(window) > centre + reach:
            yield _mean(window, centre, decide)
            centre += 1
            if centre > reach:
                window.pop(0)
                centre -= 1
    for place in range(centre, len(window)):
        yield _mean(window[max(0, place - reach) :], min(place, reach), decide)


def _mean(window: list[Result], centre: int, decide: Decide) -> Result:
    if len(window) == 1:
        return window[0]
    share = np.float32(1 / len(window))
    probability = sum((result.probability * share for result in window[1:]), window[0].probability * share)
    classes = {name: sum(result.classes[name] for result in window) / len(window) for name in window[0].classes}
    return replace(window[centre], mask=decide(probability), probability=probability, classes=classes)


@dataclass(eq=False)
class _Section:
    """A lesion in one frame: its component of the mask, cut to a box, and the sum of the probabilities there."""

    number: int
    result: Result
    component: np.ndarray
    box: tuple[slice, slice]

    def __post_init__(self) -> None:
        self.score = float(self.result.probability[self.box][self.component].sum(dtype=np.float64))


class _Track:
    """One lesion through the frames."""

    def __init__(self, first: _Section, number: int) -> None:
        self.number = number  # in the loop, from 1
        self.score = 0.0
        self.pixels: dict[int, int] = {}  # by frame
        self.classes: list[Mapping[str, float]] = []
        self.best = first
        self.add(first)

    def add(self, section: _Section) -> None:
        """Continue in a frame."""
        self.last, self.box, self.component = section.number, section.box, section.component  # not the large result
        self.score += section.score
        self.pixels[section.number] = int(section.component.sum())
        self.classes.append(section.result.classes)
        if section.score > self.best.score:
            self.best = section


@dataclass(frozen=True)
class Loop:
    """A loop and its lesion.

    The lesion is the track with the largest sum of probabilities over its pixels and frames. A track links the
    components of the masks (8-connected) from frame to frame, those with the most pixels in common first; it may miss
    up to five frames in a row. The best frame is that with the largest sum of probabilities over the lesion's pixels,
    that is area times mean probability: the largest section of which the model is sure.

    Attributes:
        frames: number of frames.
        best_frame: number of the best frame, from 1; None if no frame shows a lesion.
        best: result of that frame, or of the first frame if none shows a lesion.
        lesion: mask of the tracked lesion alone in that frame, (H, W), bool.
        areas: of the lesion by frame, in mm² where the spacing is known, else in pixels.
        classes: mean probability of each class over the frames with the lesion, or over all frames if there are none.
        seconds: time of reading, prediction and, for files, writing.
    """

    frames: int
    best_frame: int | None
    best: Result
    lesion: np.ndarray
    areas: Mapping[int, float]
    classes: Mapping[str, float]
    seconds: float

    def row(self) -> dict[str, Any]:
        """Return the summary as plain values, a row of `loops.csv`: areas over the frames, measures of the best one."""
        areas = list(self.areas.values())
        measures = replace(self.best, mask=self.lesion).measurements
        return {
            "frames": self.frames,
            "frames_with_lesion": len(areas),
            "best_frame": self.best_frame,
            "median_area": round(statistics.median(areas), 4) if areas else None,
            "min_area": round(min(areas), 4) if areas else None,
            "max_area": round(max(areas), 4) if areas else None,
            **{name: value for name, value in measures.items() if name not in _OF_ALL},
            "expected_dice": round(self.best.expected_dice, 6) if areas else None,
            **class_columns(self.classes),
            "frames_per_second": round(self.frames / max(self.seconds, 1e-9), 2),
        }


class Tracker:
    """Track the lesions of a loop while its frames are predicted; one result per track is kept."""

    def __init__(self, start: float | None = None) -> None:
        self.start = self.end = time.perf_counter() if start is None else start
        self._tracks: list[_Track] = []
        self._begun = 0  # tracks
        self._ended: _Track | None = None  # the one with the largest score
        self._classes: list[Mapping[str, float]] = []
        self._first: Result | None = None

    @property
    def frames(self) -> int:
        """Number of frames so far."""
        return len(self._classes)

    def add(self, result: Result) -> list[int]:
        """Add the result of the next frame, whose number is that in its source (`loop.dcm#3`), else counted.

        Return the number of the track of each lesion of the frame, in the order of `number_lesions`.
        """
        self._first = self._first or result
        if result.mask.shape != self._first.mask.shape:
            raise ValueError(f"the frames of a loop differ in size: {self._first.mask.shape} and {result.mask.shape}")
        self._classes.append(result.classes)
        number = split_frame(result.image.source or "")[1] or len(self._classes)
        self._end_missed(number)
        labels = number_lesions(result.mask)
        linked, tracks = self._linked(labels, int(labels.max())), []
        for label, box in enumerate(ndimage.find_objects(labels), start=1):
            section = _Section(number, result, labels[box] == label, box)
            if label in linked:
                linked[label].add(section)
                tracks.append(linked[label].number)
            else:
                self._begun += 1
                self._tracks.append(_Track(section, self._begun))
                tracks.append(self._begun)
        self.end = time.perf_counter()
        return tracks

    def _linked(self, labels: np.ndarray, count: int) -> dict[int, _Track]:
        """Return the track that each component continues, those with the most common pixels first."""
        common = []
        for index, track in enumerate(self._tracks):
            pixels = np.bincount(labels[track.box][track.component], minlength=count + 1)
            common += [(int(pixels[label]), index, int(label)) for label in np.flatnonzero(pixels[1:]) + 1]
        linked: dict[int, _Track] = {}
        taken: set[int] = set()
        for _, index, label in sorted(common, key=lambda one: -one[0]):
            if label not in linked and index not in taken:
                linked[label] = self._tracks[index]
                taken.add(index)
        return linked

    def _end_missed(self, number: int) -> None:
        """Forget the tracks that have ended before a frame, but for the best."""
        for track in [one for one in self._tracks if number - one.last > GAP + 1]:
            self._tracks.remove(track)
            self._ended = max((one for one in (self._ended, track) if one), key=lambda one: one.score)

    def loop(self) -> Loop:
        """Return what was found."""
        if self._first is None:
            raise ValueError("a loop needs at least one frame")
        tracks = [one for one in (self._ended, *self._tracks) if one]
        lesion = max(tracks, key=lambda one: one.score, default=None)
        probabilities = self._classes if lesion is None else lesion.classes
        classes = {name: sum(one[name] for one in probabilities) / len(probabilities) for name in probabilities[0]}
        count, seconds = len(self._classes), self.end - self.start
        shown = np.zeros_like(self._first.mask)
        if lesion is None:
            return Loop(count, None, self._first, shown, {}, classes, seconds)
        best, image = lesion.best, self._first.image
        shown[best.box] = best.component
        pixel = float(np.prod(image.spacing or image.proportions))
        areas = {number: pixels * pixel for number, pixels in lesion.pixels.items()}
        return Loop(count, best.number, best.result, shown, areas, classes, seconds)
