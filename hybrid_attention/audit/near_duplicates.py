"""Which images show the same frame, or neighbouring frames of a sweep, by comparing the pixels of their overlap."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from hybrid_attention.audit.keypoints import Candidate, Picture, mutual_matches, opencv, root_sift, shortlist
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from tqdm import tqdm

Kind = Literal["identical_file", "identical_pixels", "same_frame", "near_frame"]

CORRELATION = 0.8
SAME_BLOCK_CORRELATION = 0.94
SAME_OVERLAP = 0.5
NEAR_SPECKLE_CORRELATION = 0.3
NEAR_OVERLAP = 0.8

_WORTH_ALIGNING = 0.7  # correlation before the alignment is refined
_FINE, _COARSE = 1.2, 5.0  # pixels: the scale of speckle is between these two
_BLOCK = 33  # pixels
_LEAST_PIXELS = 1000
_RANSAC_PIXELS = 4.0


@dataclass(frozen=True)
class Scores:
    """Agreement of two pictures where they overlap."""

    inliers: int  # matched keypoints that fit one similarity transform
    scale: float  # pixels of the second picture per pixel of the first
    rotation: float  # in degrees
    overlap: float  # shared area as a fraction of the smaller picture
    correlation: float  # of the smoothed grey values
    speckle_correlation: float  # of the high-pass filtered grey values, which contain the speckle
    # median of the high-pass correlation over blocks; text and callipers cover few blocks, so they neither separate
    # duplicates nor join unrelated images
    block_correlation: float

    @property
    def kind(self) -> Kind | None:
        """The kind of pair; the thresholds are from the scores of the 3,022 candidates in BUSI.

        Same frame: the speckle itself agrees. Duplicates (rescaled by 0.76 to 1.41, re-cropped, with callipers) have a
        block correlation of at least 0.973, neighbouring frames of a sweep at most 0.913, unrelated images at most
        0.21. The correlation of these duplicates is at least 0.995, but graphics may lower it. The overlap must be at
        least one half; the smallest observed is 0.94.

        Near frame: the same tissue, with partly different speckle. There is no gap: these pairs go down to the
        thresholds (high-pass correlation 0.31, correlation 0.80). Unrelated images with sufficient overlap reach at
        most one of the two: 0.34 and 0.75 with the same text in both, 0.07 and 0.83 with a similar layout. Check the
        contact sheet.
        """
        if self.correlation < CORRELATION:
            return None
        if self.block_correlation >= SAME_BLOCK_CORRELATION and self.overlap >= SAME_OVERLAP:
            return "same_frame"
        if self.speckle_correlation >= NEAR_SPECKLE_CORRELATION and self.overlap >= NEAR_OVERLAP:
            return "near_frame"
        return None


@dataclass(frozen=True)
class Copy:
    """Two images that are near-duplicates: their indices, kind, and agreement (None for identical images)."""

    first: int
    second: int
    kind: Kind
    mirrored: bool = False
    scores: Scores | None = None


def find_near_duplicates(pictures: Mapping[int, Picture], progress: bool = True) -> list[Copy]:
    """Find all pairs of pictures, given by their numbers, that show the same frame or neighbouring ones, sorted.

    Rotated, rescaled, cropped and mirrored duplicates are found. An image without texture (constant, or smaller than
    about 40 pixels) has no keypoints; its duplicates can only be found by their hashes, which is not done here.
    """
    numbers, own = list(pictures), list(pictures.values())
    candidates = shortlist(own, progress)

    def judged(one: Candidate) -> Scores | None:
        return compare(own[one.first].mirrored() if one.mirrored else own[one.first], own[one.second])

    copies: dict[tuple[int, int], Copy] = {}
    with ThreadPoolExecutor(max_workers=torch.get_num_threads()) as pool:
        verdicts = tqdm(pool.map(judged, candidates), "compare", len(candidates), unit="pair", disable=not progress)
        for one, scores in zip(candidates, verdicts, strict=True):
            if scores is None or scores.kind is None:
                continue
            pair = numbers[one.first], numbers[one.second]
            known = copies[pair].scores if pair in copies else None
            if known is None or scores.block_correlation > known.block_correlation:
                copies[pair] = Copy(*pair, scores.kind, one.mirrored, scores)
    return [copies[pair] for pair in sorted(copies)]


def group_numbers(count: int, copies: Sequence[Copy]) -> list[int]:
    """Return the group of each image, connected by pairs and numbered from 1 in the order of their first images."""
    ends = np.array([(copy.first, copy.second) for copy in copies]).reshape(-1, 2)
    graph = coo_matrix((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), shape=(count, count))
    _, labels = connected_components(graph, directed=False)
    numbers: dict[int, int] = {}
    return [numbers.setdefault(int(label), len(numbers) + 1) for label in labels]


def compare(first: Picture, second: Picture) -> Scores | None:
    """Align two pictures by their keypoints and measure how well they agree; None if no transform fits.

    All keypoints are matched, a similarity transform is fitted by RANSAC, and the picture with the finer pixels is
    warped onto the other. If the grey values agree but the speckle does not quite, the alignment is refined to an
    affine one by maximising the correlation.

    Reference:
        G. Evangelidis, E. Psarakis, "Parametric image alignment using enhanced correlation coefficient maximization",
        IEEE TPAMI 30 (2008) 1858-1865, DOI 10.1109/TPAMI.2008.113 (the refinement).
    """
    cv2 = opencv()
    matched, partner = mutual_matches(root_sift(first.descriptors), root_sift(second.descriptors)[None])
    chosen = torch.nonzero(matched[:, 0]).flatten()
    here = first.keypoints[chosen.numpy(), :2]
    there = second.keypoints[partner[chosen, 0].numpy(), :2]
    if len(here) < 2:
        return None
    transform, inliers = cv2.estimateAffinePartial2D(here, there, ransacReprojThreshold=_RANSAC_PIXELS)
    if transform is None or not np.isfinite(transform).all():
        return None
    scale = float(np.hypot(*transform[:, 0]))
    if not 0.2 < scale < 5:
        return None
    rotation = float(np.degrees(np.arctan2(transform[1, 0], transform[0, 0])))
    base, other = first.pixels.astype(np.float32), second.pixels.astype(np.float32)
    if scale < 1:  # warp the finer onto the coarser, never the other way
        base, other, transform = other, base, cv2.invertAffineTransform(transform)
    scores = Scores(int(inliers.sum()), scale, rotation, *_agreement(base, other, transform))
    if scores.kind == "same_frame" or scores.correlation < _WORTH_ALIGNING or scores.overlap < NEAR_OVERLAP:
        return scores
    stop = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 30, 1e-4)
    try:
        _, refined = cv2.findTransformECC(base, other, transform.astype(np.float32), cv2.MOTION_AFFINE, stop, None, 5)
    except cv2.error:  # it did not converge: keep the first alignment
        return scores
    better = Scores(scores.inliers, scale, rotation, *_agreement(base, other, refined))
    return better if better.speckle_correlation > scores.speckle_correlation else scores


def _agreement(base: np.ndarray, other: np.ndarray, transform: np.ndarray) -> tuple[float, float, float, float]:
    """Return overlap, correlation, high-pass correlation and its median over blocks.

    `other` has the finer pixels; the transform, (2, 3), goes from the pixels of `base` to them.
    """
    cv2 = opencv()
    height, width = base.shape
    zoom = float(abs(np.linalg.det(transform[:, :2]))) ** 0.5
    blur = np.sqrt(max(zoom**2 - 1, 0)) / 2
    smooth = cv2.GaussianBlur(other, (0, 0), blur) if blur > 0.3 else other
    how = {"dsize": (width, height), "flags": cv2.WARP_INVERSE_MAP | cv2.INTER_LINEAR}
    warped = cv2.warpAffine(smooth, transform, **how)
    shared = cv2.warpAffine(np.ones_like(other), transform, **how) > 0.999
    overlap = float(shared.sum() / min(base.size, other.size / max(zoom**2, 1e-6)))
    inner = cv2.erode(shared.astype(np.uint8), np.ones((13, 13)), borderType=cv2.BORDER_CONSTANT, borderValue=0) > 0
    if inner.sum() < _LEAST_PIXELS:
        return overlap, 0.0, 0.0, 0.0
    low = [cv2.GaussianBlur(image, (0, 0), _FINE) for image in (base, warped)]
    high = [fine - cv2.GaussianBlur(image, (0, 0), _COARSE) for fine, image in zip(low, (base, warped), strict=True)]
    a, b = (image * inner for image in high)
    product, power_a, power_b = (cv2.blur(image, (_BLOCK, _BLOCK)) for image in (a * b, a * a, b * b))
    textured = inner & (np.maximum(power_a, power_b) > 0.1)  # black borders of two screens don't count
    by_block = product / np.sqrt(power_a * power_b + 1e-6)
    median = float(np.median(by_block[textured][::7])) if textured.any() else 0.0
    return overlap, _correlation(*(image[inner] for image in low)), _correlation(a[inner], b[inner]), median


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a - a.mean(), b - b.mean()
    norm = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / norm if norm > 1e-6 else 0.0
