import pytest
import torch
from hybrid_attention.networks.blocks import SFEB


def randomise_norms(module: torch.nn.Module) -> None:
    """Give every batch norm statistics and affine parameters that it does not have at birth."""
    for part in module.modules():
        if isinstance(part, torch.nn.BatchNorm2d | torch.nn.BatchNorm3d):
            torch.nn.init.normal_(part.running_mean)
            torch.nn.init.uniform_(part.running_var, 0.5, 2.0)
            torch.nn.init.uniform_(part.weight, 0.5, 1.5)
            torch.nn.init.uniform_(part.bias, 0.5, 1.0)


@pytest.mark.parametrize("pooling", ["local", "global"])
@pytest.mark.parametrize(("spatial_dims", "shape"), [(2, (2, 6, 7, 5)), (3, (2, 6, 4, 5, 3))])
def test_keeps_the_shape(spatial_dims, shape, pooling):
    assert SFEB(spatial_dims, 6, pooling)(torch.rand(shape)).shape == shape


@pytest.mark.parametrize("channels", [8, 64, 256])
def test_parameter_count(channels):
    count = sum(p.numel() for p in SFEB(2, channels).parameters())
    assert count == 28 * channels**2 + 9 * channels


@pytest.mark.parametrize("pooling", ["local", "global"])
def test_without_the_fused_features_only_the_residual_is_left(pooling):
    torch.manual_seed(0)
    block = SFEB(2, 4, pooling).eval()
    randomise_norms(block)
    x = torch.randn(1, 4, 6, 5)
    assert not torch.allclose(block(x), x)
    torch.nn.init.zeros_(block.fuse.adn.N.weight)
    torch.nn.init.zeros_(block.fuse.adn.N.bias)
    torch.testing.assert_close(block(x), x, rtol=0, atol=0)


def test_gate_scales_each_channel_of_the_fused_features():
    torch.manual_seed(0)
    block = SFEB(2, 2).eval()
    randomise_norms(block)
    x = torch.randn(1, 2, 6, 5)
    torch.nn.init.zeros_(block.gate.adn.N.weight)
    block.gate.adn.N.bias.data = torch.tensor([100.0, 100.0])  # sigmoid 1
    fused = block(x) - x
    block.gate.adn.N.bias.data = torch.log(torch.tensor([1 / 3, 3.0]))  # sigmoid 1/4 and 3/4
    assert fused.abs().amin(dim=1).max() > 0
    torch.testing.assert_close(block(x) - x, fused * torch.tensor([0.25, 0.75]).view(1, 2, 1, 1))


def test_forward_is_the_paper_s_formula():
    """Equations 7 to 15 from plain functions, on a batch in training mode."""
    torch.manual_seed(0)
    block = SFEB(2, 3)
    x = torch.randn(2, 3, 5, 4)

    def normalise(y):
        mean, var = y.mean((0, 2, 3), keepdim=True), y.var((0, 2, 3), unbiased=False, keepdim=True)
        return (y - mean) / (var + 1e-5).sqrt()

    def conv(unit, y, padding):
        return normalise(torch.nn.functional.conv2d(y, unit.conv.weight, unit.conv.bias, padding=padding))

    first = conv(block.conv, x, 1).relu()
    windows = torch.nn.functional.pad(first, (1, 1, 1, 1), value=float("nan")).unfold(2, 3, 1).unfold(3, 3, 1)
    windows = windows.flatten(4)
    pooled = torch.cat([windows.nan_to_num(-1.0).amax(-1), windows.nanmean(-1)], dim=1)
    gate = conv(block.gate, x.mean((2, 3), keepdim=True), 0).sigmoid()
    torch.testing.assert_close(block(x), conv(block.fuse, pooled, 1).relu() * gate + x)


def test_local_pooling_sees_the_neighbourhood_of_one_bright_pixel():
    block = SFEB(2, 1)
    x = torch.zeros(1, 1, 5, 5)
    x[0, 0, 1, 3] = 9.0
    near = torch.zeros(5, 5)
    near[0:3, 2:5] = 1.0
    torch.testing.assert_close(block.max_pool(x)[0, 0], 9 * near)
    torch.testing.assert_close(block.avg_pool(x)[0, 0, 1:3, 2:4], torch.ones(2, 2))
    torch.testing.assert_close(block.avg_pool(x)[0, 0, 0, 4], torch.tensor(9 / 4))  # a corner has four pixels


@pytest.mark.parametrize(("spatial_dims", "shape"), [(2, (2, 3, 5, 4)), (3, (2, 3, 3, 5, 4))])
def test_local_mean_is_average_pooling_without_the_padding(spatial_dims, shape):
    x = torch.rand(shape)
    pool = torch.nn.AvgPool2d if spatial_dims == 2 else torch.nn.AvgPool3d
    expected = pool(3, stride=1, padding=1, count_include_pad=False)(x)
    torch.testing.assert_close(SFEB(spatial_dims, 3).avg_pool(x), expected)
    narrow = x[..., :1, :2]
    means = narrow.mean((-1, -2), keepdim=True).expand_as(narrow)
    if spatial_dims == 2:
        torch.testing.assert_close(SFEB(2, 3).avg_pool(narrow), means)
    else:
        torch.testing.assert_close(SFEB(3, 3).avg_pool(narrow[:, :, :1]), means[:, :, :1])


def test_global_pooling_adds_one_constant_a_channel():
    torch.manual_seed(0)
    block = SFEB(2, 3, "global").eval()
    randomise_norms(block)
    x = torch.randn(1, 3, 6, 5)
    added = block(x) - x
    assert added.abs().max() > 0
    torch.testing.assert_close(added, added[:, :, :1, :1].expand_as(added))
    local = SFEB(2, 3, "local").eval()
    local.load_state_dict(block.state_dict())
    assert (local(x) - x).std(dim=(2, 3)).max() > 1e-3


def test_unknown_pooling_lists_the_choices():
    with pytest.raises(ValueError, match=r"'local', 'global'.*got 'median'"):
        SFEB(2, 4, "median")


@pytest.mark.parametrize("script", [False, True])
def test_training_with_one_image_says_what_to_do(script):
    block = SFEB(2, 4)
    if script:
        block = torch.jit.script(block)
    x = torch.rand(1, 4, 6, 6)
    with pytest.raises((ValueError, torch.jit.Error), match=r"at least 2.*eval\(\)"):
        block(x)
    assert block(torch.rand(2, 4, 6, 6)).shape == (2, 4, 6, 6)
    assert block.eval()(x).shape == x.shape
