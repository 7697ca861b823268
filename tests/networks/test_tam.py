import math

import pytest
import torch
from hybrid_attention.networks.blocks import GSA, TAM, TSA, AxialPositionEmbedding


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.mark.parametrize(
    ("spatial_dims", "shape"), [(2, (2, 24, 16, 16)), (2, (1, 24, 5, 9)), (2, (1, 24, 1, 1)), (3, (1, 24, 3, 4, 5))]
)
def test_keeps_the_shape(spatial_dims, shape):
    assert TAM(spatial_dims, 24, 8).eval()(torch.rand(shape)).shape == shape


def test_parameter_count_and_its_parts():
    tam = TAM(2, 256, 64, 16)

    def count(part):
        return sum(p.numel() for p in part.parameters())

    parts = {name: count(part) for name, part in tam.named_children()}
    assert parts == {"reduce": 16_576, "position": 1_024, "tsa": 12_288, "gsa": 8_576, "expand": 49_920}
    assert count(tam) == 88_384


def test_position_depends_on_the_row_in_one_half_and_on_the_column_in_the_other():
    position = AxialPositionEmbedding(2, 6, grid=4)
    added = position(torch.zeros(1, 6, 4, 4))[0]
    rows, columns = position.axes[0][0], position.axes[1][0]  # (3, 4) each
    for row in range(4):
        for column in range(4):
            torch.testing.assert_close(added[:, row, column], torch.cat([rows[:, row], columns[:, column]]))


def test_position_in_three_dimensions_splits_the_channels_over_three_axes():
    position = AxialPositionEmbedding(3, 8, grid=4)
    assert [axis.shape[1] for axis in position.axes] == [3, 3, 2]
    added = position(torch.zeros(1, 8, 4, 4, 4))[0]
    expected = torch.cat([position.axes[0][0, :, 1], position.axes[1][0, :, 2], position.axes[2][0, :, 3]])
    torch.testing.assert_close(added[:, 1, 2, 3], expected)


def test_position_is_interpolated_linearly_for_other_sizes():
    position = AxialPositionEmbedding(2, 2, grid=4)
    position.axes[0].data = torch.tensor([[[0.0, 4.0, 8.0, 12.0]]])
    position.axes[1].data = torch.tensor([[[3.0, 3.0, 3.0, 3.0]]])
    added = position(torch.zeros(1, 2, 8, 5))[0]
    torch.testing.assert_close(added[0, :, 0], torch.tensor([0.0, 1.0, 3.0, 5.0, 7.0, 9.0, 11.0, 12.0]))
    torch.testing.assert_close(added[0], added[0, :, :1].expand(8, 5))
    torch.testing.assert_close(added[1], torch.full((8, 5), 3.0))


def test_only_the_position_embedding_tells_places_apart():
    """Without it, a rolled input gives the rolled output; with it, another one."""
    tam = TAM(2, 12, 8, grid=6).eval()
    x = torch.randn(1, 12, 6, 6)

    def rolled(y):
        return torch.roll(y, (2, 1), dims=(2, 3))

    with torch.no_grad():
        for axis in tam.position.axes:
            torch.nn.init.normal_(axis)
        assert (tam(rolled(x)) - rolled(tam(x))).abs().max() > 1e-3
        for axis in tam.position.axes:
            axis.zero_()
        torch.testing.assert_close(tam(rolled(x)), rolled(tam(x)))


def test_position_reaches_channel_attention_only():
    tam = TAM(2, 12, 8, grid=6).eval()
    x = torch.randn(1, 12, 6, 6)
    seen = {}
    tam.tsa.register_forward_pre_hook(lambda _, args: seen.update(tsa=args[0]))
    tam.gsa.register_forward_pre_hook(lambda _, args: seen.update(gsa=args[0]))
    tam(x)
    torch.testing.assert_close(seen["gsa"], tam.reduce(x))
    torch.testing.assert_close(seen["tsa"], tam.position(tam.reduce(x)))
    assert not torch.equal(seen["tsa"], seen["gsa"])


def test_channel_attention_equals_loops():
    c, h, w = 3, 2, 4
    tsa = TSA(2, c)
    x = torch.randn(2, c, h, w)
    q, k, v = (torch.einsum("oi,bihw->bohw", p.weight[:, :, 0, 0], x) for p in (tsa.query, tsa.key, tsa.value))
    expected = torch.zeros_like(x)
    for b in range(2):
        for i in range(c):
            weights = [math.exp((q[b, i] * k[b, j]).sum().item() / math.sqrt(h * w)) for j in range(c)]
            for j in range(c):
                expected[b, i] += weights[j] / sum(weights) * v[b, j]
    torch.testing.assert_close(tsa(x), expected)


def test_spatial_attention_equals_an_explicit_softmax():
    c, h, w = 6, 3, 4
    gsa = GSA(2, c).eval()
    x = torch.randn(2, c, h, w)
    q, k, v = gsa.query(x), gsa.key(x), gsa.value(x)
    logits = torch.einsum("bchw,bcyx->bhwyx", q, k) / math.sqrt(c / 2)
    attention = logits.flatten(3).softmax(-1).view_as(logits)
    expected = torch.einsum("bhwyx,bcyx->bchw", attention, v)
    assert attention.std() > 1e-3
    torch.testing.assert_close(gsa(x), expected)


def test_widths_that_cannot_be_split_are_refused():
    with pytest.raises(ValueError, match=r"even.*got 7"):
        GSA(2, 7)
    with pytest.raises(ValueError, match="at least spatial_dims=3, got 2"):
        AxialPositionEmbedding(3, 2)
