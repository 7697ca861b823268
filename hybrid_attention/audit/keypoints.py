"""Images as sets of keypoints, and pairs of images with matching keypoints: candidates for near-duplicates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType

import numpy as np
import torch
from hybrid_attention.data.grey import stretched
from hybrid_attention.data.names import how_to_install
from tqdm import tqdm

PIXEL_SIDE = 512  # pixels are compared at this longest side at most
_KEYPOINT_SIDE = 384  # keypoints are detected at this one: coarser speckle is more repeatable, in half the time
_KEYPOINTS = 500
_STRONGEST = 128  # number of them used for the shortlist
_RATIO = 0.8
_LEAST_SUPPORT = 4
_TOLERANCE = 0.06  # of the longest side: accuracy of the frame of a single keypoint
_CHUNK = 256


@dataclass(frozen=True)
class Picture:
    """Features of an image, about 0.3 MB."""

    pixels: np.ndarray  # uint8, shape (H, W), longest side at most `PIXEL_SIDE`
    keypoints: np.ndarray  # float32, shape (n, 4): x and y in pixels, size, angle in degrees; the strongest first
    descriptors: np.ndarray  # SIFT, uint8, shape (n, 128): 4 rows, 4 columns, 8 directions

    def mirrored(self) -> Picture:
        """Return the picture of the image mirrored left to right, without a new search for keypoints."""
        keypoints = self.keypoints.copy()
        keypoints[:, 0] = self.pixels.shape[1] - 1 - keypoints[:, 0]
        keypoints[:, 3] = 180 - keypoints[:, 3]
        cells = self.descriptors.reshape(-1, 4, 4, 8)  # (n, row, column, direction)
        # in the frame of a keypoint mirroring reverses the rows of the descriptor and the sense of its directions
        cells = np.ascontiguousarray(cells[:, ::-1][..., [0, 7, 6, 5, 4, 3, 2, 1]])
        return Picture(np.ascontiguousarray(self.pixels[:, ::-1]), keypoints, cells.reshape(-1, 128))


@dataclass(frozen=True)
class Candidate:
    """A pair of pictures that may be near-duplicates."""

    first: int
    second: int
    mirrored: bool  # the first one
    support: int  # matches that agree on one similarity transform


def opencv() -> ModuleType:
    """Return OpenCV, or say how to install it."""
    try:
        import cv2
    except ImportError as error:
        raise ImportError(f"the leakage audit needs OpenCV: {how_to_install('audit')}") from error
    return cv2


def describe(grey: np.ndarray) -> Picture:
    """Find the keypoints of an image, (H, W), uint8 or of another range, which is stretched; a constant one has none.

    Reference:
        D. Lowe, "Distinctive image features from scale-invariant keypoints", IJCV 60 (2004) 91-110,
        DOI 10.1023/B:VISI.0000029664.99615.94.
    """
    cv2 = opencv()
    if grey.dtype != np.uint8:
        grey = stretched(grey).round().astype(np.uint8)
    pixels, _ = _shrunk(grey, PIXEL_SIDE)
    small, factor = _shrunk(pixels, _KEYPOINT_SIDE)
    sift = cv2.SIFT_create(nfeatures=_KEYPOINTS, enable_precise_upscale=True)  # else all lie a quarter pixel off
    found, descriptors = sift.detectAndCompute(small, None)
    if not found:
        return Picture(pixels, np.zeros((0, 4), np.float32), np.zeros((0, 128), np.uint8))
    keypoints = np.array([(*point.pt, point.size, point.angle, point.response) for point in found], np.float32)
    order = np.argsort(-keypoints[:, 4], kind="stable")[:_KEYPOINTS]
    keypoints = keypoints[order, :4]
    keypoints[:, :2] = (keypoints[:, :2] + 0.5) / factor - 0.5
    keypoints[:, 2] /= factor
    return Picture(pixels, keypoints, descriptors[order].astype(np.uint8))


def _shrunk(image: np.ndarray, side: int) -> tuple[np.ndarray, float]:
    """Return an image whose longest side is at most `side`, and the factor by which both axes were scaled."""
    factor = max(side / max(image.shape), 1 / min(image.shape))
    if factor >= 1:
        return np.ascontiguousarray(image), 1.0
    cv2 = opencv()
    return cv2.resize(np.ascontiguousarray(image), None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA), factor


def root_sift(descriptors: np.ndarray) -> torch.Tensor:
    """Return unit vectors whose dot product is the Hellinger similarity of SIFT histograms.

    Reference:
        R. Arandjelović, A. Zisserman, "Three things everyone should know to improve object retrieval", CVPR 2012,
        DOI 10.1109/CVPR.2012.6248018, section 3.

    Shape:
        (n, 128), uint8 to float32
    """
    return torch.nn.functional.normalize(torch.from_numpy(descriptors).float().sqrt(), dim=1)


def mutual_matches(query: torch.Tensor, others: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Match the descriptors of one image with those of several by the ratio test and mutual nearest neighbours.

    Shape:
        - query: unit vectors, (k, 128)
        - others: unit vectors of m images, (m, n, 128), zeros where an image has fewer than n
        - output: whether a descriptor has a match in an image, and the index of the match, both (k, m)
    """
    similarity = (query @ others.flatten(0, 1).T).unflatten(1, others.shape[:2])  # (k, m, n)
    from_there = similarity.amax(dim=0)  # (m, n)
    best, index = similarity.max(dim=2)  # (k, m)
    second = similarity.scatter_(2, index[..., None], -1.0).amax(dim=2).clamp(min=0)
    mutual = best >= from_there.gather(1, index.T).T
    return mutual & (1 - best < _RATIO**2 * (1 - second)) & (best > 0), index


def agreeing_matches(here: np.ndarray, there: np.ndarray, side: float) -> int:
    """Count the matches that agree with the similarity transform of the best single match.

    Position, size and angle of two matched keypoints define one, which the others vote on, without random sampling.

    Reference:
        J. Philbin et al., "Object retrieval with large vocabularies and fast spatial matching", CVPR 2007,
        DOI 10.1109/CVPR.2007.383172, section 3.2.

    Args:
        here: matched keypoints, (n, 4).
        there: their matches, (n, 4).
        side: longest side of the image of `here`.
    """
    z, w = here[:, 0] + 1j * here[:, 1], there[:, 0] + 1j * there[:, 1]
    scale = there[:, 2] / here[:, 2]
    turn = scale * np.exp(1j * np.deg2rad(there[:, 3] - here[:, 3]))
    error = np.abs(w[:, None] + turn[:, None] * (z[None] - z[:, None]) - w[None])  # (hypothesis, match)
    return int((error < _TOLERANCE * side * np.maximum(scale, 1)[:, None]).sum(axis=1).max())


def shortlist(pictures: Sequence[Picture], progress: bool = True) -> list[Candidate]:
    """Find the pairs of pictures that may be near-duplicates, mirrored or not, in the order of their indices.

    The 128 strongest keypoints of each picture are matched with those of every other one. A pair is a candidate if at
    least 4 matches agree on one similarity transform; for each picture the 30 pairs with the best support are kept,
    which limits the work if all images share a screen layout. On BUSI the 216 pairs of one frame have a support of at
    least 46; of the 303,810 pairs 2,342 are candidates without and 680 with mirroring.

    Time grows with the square of the number of pictures (780: half a minute each with and without mirroring on one
    core; 3,000: 15 minutes in all), memory linearly (64 kB per picture plus 16 MB).
    """
    table = torch.zeros(len(pictures), _STRONGEST, 128)
    for row, picture in zip(table, pictures, strict=True):
        descriptors = picture.descriptors[:_STRONGEST]
        row[: len(descriptors)] = root_sift(descriptors)
    found: list[Candidate] = []
    for index in tqdm(range(len(pictures) - 1), "shortlist", unit="image", disable=not progress):
        found += _partners(index, pictures, table)
    return strongest(found)


def _partners(index: int, pictures: Sequence[Picture], table: torch.Tensor) -> list[Candidate]:
    """Return the candidates among the pictures that come after `index`."""
    found = []
    for mirrored in (False, True):
        picture = pictures[index].mirrored() if mirrored else pictures[index]
        keypoints = picture.keypoints[:_STRONGEST]
        if len(keypoints) < _LEAST_SUPPORT:
            continue
        query = root_sift(picture.descriptors[:_STRONGEST])
        for start in range(index + 1, len(pictures), _CHUNK):
            matched, partner = mutual_matches(query, table[start : start + _CHUNK])
            enough = torch.nonzero(matched.sum(dim=0) >= _LEAST_SUPPORT).flatten().tolist()
            matched_here, partner_there = matched.numpy(), partner.numpy()
            for column in enough:
                chosen = np.flatnonzero(matched_here[:, column])
                there = pictures[start + column].keypoints[partner_there[chosen, column]]
                support = agreeing_matches(keypoints[chosen], there, max(picture.pixels.shape))
                if support >= _LEAST_SUPPORT:
                    found.append(Candidate(index, start + column, mirrored, support))
    return found


def strongest(candidates: Sequence[Candidate], count: int = 30) -> list[Candidate]:
    """Keep the candidates that are among the `count` best of either of their pictures."""
    taken: dict[int, int] = {}
    kept = []
    for candidate in sorted(candidates, key=lambda candidate: -candidate.support):
        ends = (candidate.first, candidate.second)
        if min(taken.get(end, 0) for end in ends) < count:
            kept.append(candidate)
        for end in ends:
            taken[end] = taken.get(end, 0) + 1
    return sorted(kept, key=lambda candidate: (candidate.first, candidate.second, candidate.mirrored))
