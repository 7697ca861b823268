import numpy as np
import pytest
from hybrid_attention.audit.keypoints import Candidate, agreeing_matches, describe, strongest
from hybrid_attention.audit.near_duplicates import Copy, Scores, compare, find_near_duplicates, group_numbers
from hybrid_attention.phantoms.dataset import make_phantom
from scipy import ndimage

FRAME, OTHER, THIRD = (make_phantom("benign", seed, (240, 300)).image for seed in range(3))


def neighbour(share):
    """A frame with the same tissue whose speckle is the frame's by `share` and new by the rest, shifted by (3, 5)."""
    image, other = FRAME.astype(float), OTHER.astype(float)
    tissue = ndimage.gaussian_filter(image, 5)
    speckle, new = image - tissue, other - ndimage.gaussian_filter(other, 5)
    new *= np.sqrt(ndimage.gaussian_filter(speckle**2, 9) / ndimage.gaussian_filter(new**2, 9))
    mixed = tissue + share * speckle + np.sqrt(1 - share**2) * new
    return np.clip(np.roll(mixed, (3, 5), axis=(0, 1)), 0, 255).astype(np.uint8)


def test_neighbouring_frame_is_near_not_same():
    pictures = {0: describe(FRAME), 1: describe(neighbour(0.75)), 7: describe(THIRD)}
    (copy,) = find_near_duplicates(pictures, progress=False)
    assert (copy.first, copy.second, copy.kind, copy.mirrored) == (0, 1, "near_frame", False)
    # the share kept is what correlates, and a little more, since some of the tissue lies in the same band
    assert 0.72 < copy.scores.block_correlation < 0.9 and copy.scores.correlation > 0.8


def test_overlap_is_measured_on_the_smaller_picture():
    for right, left, kind in ((200, 80, "same_frame"), (180, 120, None)):
        scores = compare(describe(FRAME[:, :right]), describe(FRAME[:, left:]))
        assert scores.overlap == pytest.approx((right - left) / min(right, 300 - left), abs=0.01)
        assert scores.scale == pytest.approx(1, abs=0.01) and scores.kind == kind


@pytest.mark.parametrize("factor", [0.6, 1.5])
def test_neither_scale_nor_black_borders_nor_grey_depth_matter(factor):
    scaled = np.clip(ndimage.zoom(FRAME.astype(float), factor), 0, 255)
    framed = np.zeros((500, 512), np.uint16)
    framed[50 : 50 + len(scaled), 30 : 30 + len(scaled.T)] = 300 + 100 * scaled
    scores = compare(describe(FRAME), describe(framed))
    assert scores.scale == pytest.approx(factor, rel=0.01) and scores.kind == "same_frame"


def test_shared_text_joins_no_strangers():
    first, second = FRAME.copy(), OTHER.copy()
    text = np.kron(np.random.default_rng(0).integers(0, 2, (6, 30)), np.ones((5, 5))) * 235
    first[190:220, 20:170] = second[190:220, 20:170] = text
    scores = compare(describe(first), describe(second))
    assert scores.inliers >= 10, "the text should match, or this test proves nothing"
    assert scores.kind is None


def test_support_counts_what_agrees_with_one_similarity():
    here = np.array([[10, 10, 4, 0], [50, 10, 4, 90], [10, 60, 6, 45], [70, 70, 5, 10]], float)
    # doubled, turned by 90 degrees and shifted
    there = np.stack([300 - 2 * here[:, 1], 20 + 2 * here[:, 0], 2 * here[:, 2], here[:, 3] + 90], axis=1)
    assert agreeing_matches(here, there, 100) == 4
    there[3, :2] += 80
    assert agreeing_matches(here, there, 100) == 3


def test_candidates_and_groups():
    strong, middle, weak = (Candidate(0, 1, False, 9), Candidate(1, 2, False, 8), Candidate(0, 1, True, 4))
    assert strongest([weak, middle, strong], count=1) == [strong, middle]
    copies = [Copy(1, 4, "same_frame"), Copy(2, 4, "same_frame"), Copy(3, 5, "same_frame")]
    assert group_numbers(7, copies) == [1, 2, 2, 3, 2, 3, 4]


def test_verdicts():
    # overlap, correlation, and those of the speckle and its blocks
    same, near = [(1, 0.99, 0.9, 0.97), (0.6, 0.85, 0.2, 0.97)], [(1, 0.99, 0.9, 0.9)]
    neither = [(0.4, 0.99, 0.9, 0.97), (1, 0.7, 0.9, 0.97), (0.7, 0.99, 0.9, 0.9), (1, 0.99, 0.2, 0.1)]
    for kind, scores in (("same_frame", same), ("near_frame", near), (None, neither)):
        assert {Scores(50, 1, 0, *values).kind for values in scores} == {kind}
