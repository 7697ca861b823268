import pytest
import torch
from hybrid_attention.transforms import RandomSpeckle


def test_noise_multiplies_with_mean_one_and_the_given_deviation():
    torch.manual_seed(0)
    factor = RandomSpeckle((0.2, 0.2), p=1.0)(torch.ones(4, 1, 200, 200))
    assert factor.mean() == pytest.approx(1, abs=0.01)
    assert factor.std() == pytest.approx(0.2, rel=0.03)


def test_black_stays_black_and_nothing_turns_negative():
    torch.manual_seed(0)
    x = torch.ones(1, 1, 32, 32)
    x[..., :16] = 0
    y = RandomSpeckle((3.0, 3.0), p=1.0)(x)
    assert (y[..., :16] == 0).all()
    assert y.min() == 0
    assert y.max() > 1


def test_grains_are_larger_than_a_pixel():
    torch.manual_seed(0)
    noise = RandomSpeckle((0.1, 0.1), p=1.0)(torch.ones(1, 1, 300, 300))[0, 0] - 1
    neighbours = (noise[1:] * noise[:-1]).mean() / noise.square().mean()
    assert neighbours == pytest.approx(2 / 3, abs=0.03)  # windows of 3 share 2 of 3 columns


def test_channels_of_an_image_share_the_noise_and_images_do_not():
    torch.manual_seed(0)
    y = RandomSpeckle((0.2, 0.2), p=1.0)(torch.ones(2, 3, 8, 8))
    assert torch.equal(y[:, 0], y[:, 2])
    assert not torch.equal(y[0], y[1])


def test_probability():
    torch.manual_seed(0)
    y = RandomSpeckle((0.2, 0.2), p=0.25)(torch.ones(400, 1, 4, 4))
    changed = (y != 1).flatten(1).any(1).float().mean()
    assert changed == pytest.approx(0.25, abs=0.07)
    assert torch.equal(RandomSpeckle(p=0.0)(torch.ones(2, 1, 4, 4)), torch.ones(2, 1, 4, 4))


def test_bad_arguments():
    with pytest.raises(ValueError, match=r"strength must be two numbers from 0, the smaller first, got \(0.3, 0.1\)"):
        RandomSpeckle((0.3, 0.1))
    with pytest.raises(ValueError, match="p must be a probability from 0 to 1, got 2"):
        RandomSpeckle(p=2)
