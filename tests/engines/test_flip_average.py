import pytest
import torch
from hybrid_attention.engines import FlipAverage
from hybrid_attention.networks import MultiTaskOutput
from monai.inferers import SimpleInferer


def position(x):
    """Logits that depend on the place alone: 0, 1, 2 … along axis 0 of the plane."""
    return torch.arange(x.shape[2], dtype=torch.float32)[None, None, :, None].expand(x.shape[0], 1, -1, x.shape[3])


def same(x):
    return x[:, :1]


def test_one_pass_gives_the_very_values():
    x = torch.randn(2, 3, 4, 5)
    assert torch.equal(FlipAverage(SimpleInferer(), [[]])(x, same), x[:, :1])


def test_a_network_that_follows_its_input_is_unchanged():
    x = torch.randn(2, 3, 4, 5)
    result = FlipAverage(SimpleInferer(), [[], [0], [1], [0, 1]])(x, same)
    torch.testing.assert_close(result, x[:, :1])


def test_probabilities_are_averaged_after_flipping_back():
    result = FlipAverage(SimpleInferer(), [[], [0]])(torch.zeros(1, 1, 3, 2), position)
    sigmoid = torch.tensor([0.0, 1.0, 2.0]).sigmoid()
    expected = torch.stack([(sigmoid[0] + sigmoid[2]) / 2, sigmoid[1], (sigmoid[0] + sigmoid[2]) / 2])
    torch.testing.assert_close(result.sigmoid()[0, 0, :, 0], expected)


def test_axes_are_those_of_the_plane():
    x = torch.zeros(1, 1, 2, 2)
    x[0, 0, 0, 1] = 1
    seen = []
    FlipAverage(SimpleInferer(), [[0], [1]])(x, lambda image: seen.append(image.clone()) or image)
    assert seen[0][0, 0, 1, 1] == 1
    assert seen[1][0, 0, 0, 0] == 1


def test_named_tuples_average_regions_and_classes_by_softmax():
    def network(x):
        first = bool(x[0, 0, 0, 0] == 1)
        mask = torch.zeros(1, 2, 2, 1)
        mask[:, 1] = 2.0 if first else 0.0
        return MultiTaskOutput(mask, None, torch.tensor([[1.0, 0.0, 0.0]]) if first else torch.zeros(1, 3))

    x = torch.zeros(1, 1, 2, 1)
    x[0, 0, 0, 0] = 1
    result = FlipAverage(SimpleInferer(), [[], [0]])(x, network)
    assert result.coarse_mask is None
    region = (torch.tensor([0.0, 2.0]).softmax(0) + 0.5) / 2
    torch.testing.assert_close(result.mask.softmax(1)[0, :, 0, 0], region)
    classes = (torch.tensor([1.0, 0.0, 0.0]).softmax(0) + 1 / 3) / 2
    torch.testing.assert_close(result.class_logits.softmax(1)[0], classes)


def test_class_channels_behind_the_lesion():
    def network(x):
        first = float(x[0, 0, 0, 0])
        return torch.tensor([0.0, first, 0.0])[None, :, None, None].expand(1, 3, 2, 1)

    x = torch.zeros(1, 1, 2, 1)
    x[0, 0, 0, 0] = 3
    result = FlipAverage(SimpleInferer(), [[], [0]], classes_follow=True)(x, network)
    torch.testing.assert_close(result[:, :1], torch.zeros(1, 1, 2, 1))
    expected = (torch.tensor([3.0, 0.0]).softmax(0) + 0.5) / 2
    torch.testing.assert_close(result[0, 1:, 0, 0].softmax(0), expected)


def test_certain_pixels_stay_finite():
    result = FlipAverage(SimpleInferer(), [[], [0]])(torch.full((1, 1, 2, 2), 200.0), same)
    assert torch.isfinite(result).all()


@pytest.mark.parametrize("flips", [[], [0], [[-1]], [[2]], [[0, 0]], "[[]]", [["0"]], None])
def test_bad_flips(flips):
    with pytest.raises(ValueError, match="flips must be a list of passes"):
        FlipAverage(SimpleInferer(), flips)
