"""Does a map depend on what the network has learned, and on what it looks at?

J. Adebayo et al., "Sanity Checks for Saliency Maps", NeurIPS 2018, arXiv:1810.03292: a map that stays the same when the
parameters are randomised explains the image, not the network.
"""

import copy

import numpy as np
import pytest
import torch
from hybrid_attention.explain import grad_cam
from scipy.stats import spearmanr


def rank_correlation(one, other):
    return float(spearmanr(one.flatten(), other.flatten()).statistic) if other.any() else 0.0


@pytest.mark.parametrize("randomised", [("head",), ("head", "deep"), ("head", "deep", "first")])
def test_random_parameters_change_the_map(trained, randomised):
    """From the last layer on; over several draws, as a random head may point in the learned direction by chance."""
    learned = grad_cam(trained.net, trained.images, mask=trained.truth)
    assert torch.equal(grad_cam(copy.deepcopy(trained.net), trained.images, mask=trained.truth), learned)
    alike = []
    for seed in range(5):
        torch.manual_seed(seed)
        net, fresh = copy.deepcopy(trained.net), type(trained.net)()
        for name in randomised:
            setattr(net, name, getattr(fresh, name))
        changed = grad_cam(net, trained.images, mask=trained.truth)
        alike += [abs(rank_correlation(one, other)) for one, other in zip(learned, changed, strict=True)]
    assert np.mean(alike) < 0.6


def test_the_disc_is_explained_and_not_the_square(trained):
    heat = grad_cam(trained.net, trained.images)
    near = torch.nn.functional.max_pool2d(trained.truth, 9, stride=1, padding=4)
    for map_, region in zip(heat, near, strict=True):
        share = float((map_ * region).sum() / map_.sum())
        assert share > 0.8
        assert region.mean() < 0.3


def test_hiding_the_hottest_pixels_lowers_the_score_more_than_hiding_others(trained):
    heat = grad_cam(trained.net, trained.images)
    hidden = 50

    def mean_logit(images):
        with torch.no_grad():
            logits = trained.net(images)
        return (logits * trained.truth).sum(dim=(1, 2, 3)) / trained.truth.sum(dim=(1, 2, 3))

    def without(where):
        """Replace the `hidden` highest pixels of each map by the background."""
        images = trained.images.clone()
        for image, map_ in zip(images, where, strict=True):
            image.view(-1)[map_.flatten().topk(hidden).indices] = 0
        return images

    before = mean_logit(trained.images)
    fall = before - mean_logit(without(heat))
    for shift in ((16, 16), (0, 16), (16, 0)):
        elsewhere = before - mean_logit(without(heat.roll(shift, dims=(2, 3))))
        assert torch.all(fall > elsewhere + 5)
