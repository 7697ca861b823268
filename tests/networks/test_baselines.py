import csv
import sys

import pytest
import torch
from hybrid_attention.explain import grad_cam
from hybrid_attention.networks import baselines
from hybrid_attention.networks.triple_encoder_unet import pad_to_multiple
from monai.bundle import ConfigParser

from tests.bundles.commands import bundle, config

CASES = [  # builder, arguments, input shape, output shape, parameters
    ("basic_unet", {}, (1, 3, 33, 45), (1, 1, 33, 45), 7_783_425),
    ("residual_unet", {}, (1, 3, 33, 45), (1, 1, 33, 45), 6_500_734),
    ("unet_plus_plus", {}, (1, 3, 33, 45), (1, 1, 33, 45), 9_119_332 - 3 * 33),
    ("attention_unet", {}, (1, 3, 33, 45), (1, 1, 33, 45), 7_940_321),
    ("segresnet", {}, (1, 3, 33, 45), (1, 1, 33, 45), 6_299_073),
    ("swin_unetr", {}, (1, 3, 33, 45), (1, 1, 33, 45), 6_302_875),
    ("flexible_unet", {}, (1, 3, 33, 45), (1, 1, 33, 45), 7_060_277 - 320 * 1280 - 2 * 1280 - 1281 * 1000),
    ("flexible_unet", {"backbone": "resnet34"}, (1, 3, 33, 45), (1, 1, 33, 45), 23_653_745),
    ("nnunet", {}, (1, 3, 33, 45), (1, 1, 33, 45), 20_617_697),
    ("nnunet_residual", {}, (1, 3, 33, 45), (1, 1, 33, 45), 71_815_201),
    ("basic_unet", {"in_channels": 1}, (2, 1, 48, 17), (2, 1, 48, 17), 7_783_425 - 2 * 9 * 32),
    ("segresnet", {"in_channels": 1, "out_channels": 2}, (1, 1, 9, 16), (1, 2, 9, 16), 6_299_073 - 2 * 9 * 32 + 33),
    # 320 + 64 + 9,248 + 64 fine; 18,496 + 128 + 36,928 + 128 coarse; 8,224 up; 18,464 + 64 + 9,248 + 64; 33 head
    ("nnunet", {"stages": 2, "in_channels": 1}, (1, 1, 3, 9), (1, 1, 3, 9), 101_473),
    ("nnunet", {"spatial_dims": 3, "stages": 2}, (1, 3, 5, 4, 7), (1, 1, 5, 4, 7), 296_289),
]
SMALL = {
    "basic_unet": {"channels": (4, 4, 8, 8, 8)},
    "residual_unet": {"channels": (4, 8, 16)},
    "unet_plus_plus": {"channels": (4, 4, 8, 8, 8)},
    "attention_unet": {"channels": (4, 8, 16)},
    "segresnet": {"init_filters": 8},
    "swin_unetr": {"feature_size": 12},
    "flexible_unet": {},
    "nnunet": {"stages": 3},
    "nnunet_residual": {"stages": 3},
}


def small(name):
    torch.manual_seed(0)
    return getattr(baselines, name)(**SMALL[name])


def test_every_peer_is_tested():
    assert set(baselines.__all__) == set(SMALL) == {case[0] for case in CASES}


@pytest.mark.parametrize(("name", "arguments", "input_shape", "output_shape", "parameters"), CASES)
def test_shapes_and_parameter_counts(name, arguments, input_shape, output_shape, parameters):
    net = getattr(baselines, name)(**arguments)
    with torch.no_grad():
        assert net(torch.rand(input_shape)).shape == output_shape
    assert sum(p.numel() for p in net.parameters()) == parameters


@pytest.mark.parametrize("name", SMALL)
def test_backward_reaches_every_parameter(name):
    net = small(name)
    for weight in net.parameters():  # away from nnU-Net's start, at which residual branches give zero
        weight.data.add_(0.1 * torch.randn_like(weight))
    net(torch.rand(2, 3, 65, 70)).square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in net.parameters())


@pytest.mark.parametrize("name", SMALL)
def test_image_that_does_not_fit_is_continued_at_its_border(name):
    net = small(name).eval()
    x = torch.rand(1, 3, 65, 96)
    with torch.no_grad():
        whole = net.network(pad_to_multiple(x, net.stride))
        whole = whole[-1] if isinstance(whole, list) else whole
        torch.testing.assert_close(net(x), whole[..., :65, :96])


@pytest.mark.parametrize("name", SMALL)
def test_grad_cam_of_the_named_layer(name):
    heat = grad_cam(small(name), torch.rand(1, 3, 65, 70), mask=torch.ones(1, 1, 65, 70))
    assert heat.shape == (1, 1, 65, 70)
    assert heat.max() == 1


def test_bad_arguments_and_input_are_refused():
    with pytest.raises(ValueError, match="expected 3 input channels, received 1"):
        small("segresnet")(torch.rand(1, 1, 64, 64))
    with pytest.raises(ValueError, match=r"spatial size \(8, 64\) is too small.*more than 8"):
        small("segresnet")(torch.rand(1, 3, 8, 64))
    with pytest.raises(ValueError, match="spatial size 7"):
        small("segresnet")(torch.rand(1, 3, 7, 64))
    with pytest.raises(ValueError, match="stages must be 2 or more, got 1"):
        baselines.nnunet(stages=1)


def test_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "dynamic_network_architectures.architectures", None)
    with pytest.raises(ImportError, match=r"pip install '\.\[baselines\]'"):
        baselines.nnunet()


def test_efficientnet_encoder_evaluates_with_the_statistics_of_the_last_steps():
    encoder = small("flexible_unet").train().network.encoder
    x = torch.rand(2, 3, 32, 32)
    norm = encoder._bn0
    seen = []
    norm.register_forward_pre_hook(lambda module, args: seen.append(args[0].var(dim=(0, 2, 3))))
    with torch.no_grad():
        for _ in range(60):
            encoder(x)
    torch.testing.assert_close(norm.running_var, seen[-1], rtol=0.1, atol=0.01)


@pytest.mark.parametrize("name", SMALL)
def test_one_override_puts_a_peer_into_the_hybrid_bundle(name):
    parser = ConfigParser()
    parser.read_config(config("hybrid", "train"))
    override = {"_target_": f"hybrid_attention.networks.baselines.{name}", **SMALL[name]}
    parser.update({"network_def": override, "channels_last": True, "device": "cpu"})
    net, loss = parser.get_parsed_content("network"), parser.get_parsed_content("loss")
    logits = parser.get_parsed_content("train#inferer")(torch.rand(2, 3, 64, 64), net)
    assert loss(logits, torch.ones(2, 1, 64, 64)).isfinite()


def test_bundle_trains_and_explains_a_peer(phantoms, tmp_path):
    train, evaluate = config("hybrid", "train"), config("hybrid", "evaluate")
    options = ["--dataset_dir", phantoms, "--output_dir", tmp_path, "--image_size", 40, "--batch_size", 4]
    options += ["--network_def", "{'_target_': 'hybrid_attention.networks.baselines.nnunet', 'stages': 4}"]
    bundle("training", [train], *options, "--epochs", 1)
    bundle("evaluating", [train, evaluate], *options, "--gradcam", "True")
    with open(tmp_path / "evaluation" / "per_case.csv", newline="") as file:
        cases = len(list(csv.DictReader(file)))
    assert cases == len(list((tmp_path / "evaluation" / "masks").rglob("*.png"))) > 0
    assert (tmp_path / "evaluation" / "gradcam").is_dir()
