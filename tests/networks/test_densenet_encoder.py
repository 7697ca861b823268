import pytest
import torch
from hybrid_attention.networks import DenseNet121Encoder
from monai.networks.nets import DenseNet121

MAPS = [(64, 2), (256, 4), (512, 8), (1024, 16), (1024, 32)]


@pytest.mark.parametrize(("depth", "parameters"), [(3, 4_267_392), (4, 6_953_856)])
def test_feature_maps_follow_the_table(depth, parameters):
    encoder = DenseNet121Encoder(depth=depth).eval()
    with torch.no_grad():
        features = encoder(torch.rand(1, 3, 64, 96))
    assert [tuple(f.shape) for f in features] == [(1, c, 64 // s, 96 // s) for c, s in MAPS[: depth + 1]]
    assert encoder.channels == tuple(c for c, _ in MAPS[: depth + 1])
    assert encoder.stride == MAPS[depth][1]
    assert sum(p.numel() for p in encoder.parameters()) == parameters


def test_smallest_and_odd_sizes_and_three_dimensions():
    with torch.no_grad():
        assert DenseNet121Encoder().eval()(torch.rand(1, 3, 16, 31))[-1].shape == (1, 1024, 1, 2)
        assert DenseNet121Encoder(depth=4).eval()(torch.rand(1, 3, 32, 77))[-1].shape == (1, 1024, 1, 2)
        volume = DenseNet121Encoder(spatial_dims=3, in_channels=1).eval()(torch.rand(1, 1, 16, 32, 16))
    assert [tuple(f.shape[1:]) for f in volume] == [(64, 8, 16, 8), (256, 4, 8, 4), (512, 2, 4, 2), (1024, 1, 2, 1)]


def test_whole_encoder_computes_what_densenet_computes():
    torch.manual_seed(0)
    whole = DenseNet121(2, 3, 1).eval()
    encoder = DenseNet121Encoder(depth=4).eval()
    for stage in encoder.stages:
        for name, part in stage.named_children():
            if name != "relu5":
                part.load_state_dict(getattr(whole.features, name).state_dict())
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(encoder(x)[-1], whole.features(x).relu())


@pytest.mark.parametrize("depth", [2, 5])
def test_unknown_depth_is_refused(depth):
    with pytest.raises(ValueError, match=rf"\(3, 4\), got {depth}"):
        DenseNet121Encoder(depth=depth)
