import pytest
import torch
from hybrid_attention.networks import TripleEncoderUNet, triple_encoder_model

R, D, E = "resnet18", "densenet121", "efficientnet-b0"
TABLE_1 = [  # the paper's models, attention, encoders, frozen, parameters, trainable
    ((1, 2), "cbam", (R, D, E), False, 23_881_989, 23_881_989),
    ((3, 4), "non_local", (R, D, E), False, 24_493_277, 24_493_277),
    ((5, 6), None, (R, D, E), True, 23_794_557, 1_656_641),
    ((7, 8), None, (R, D, E), False, 23_794_557, 23_794_557),
    ((9, 11), "non_local", (R, D, E), True, 24_493_277, 2_355_361),
    ((10, 12), "cbam", (R, D, E), True, 23_881_989, 1_744_073),
    ((13, 14), None, (D, E), True, 12_350_269, 1_388_865),
    ((15, 16), None, (R, E), True, 16_305_149, 1_121_089),
    ((17, 18), None, (R, D), True, 19_117_569, 987_201),
    ((19, 20), None, (D, E), False, 12_350_269, 12_350_269),  # printed with two digits swapped: 12,350,296
]


def images(*shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(5))


def settled(**arguments):
    """Build a network whose batch norms know their input, as after training; at birth the signal fades on its way."""
    torch.manual_seed(0)
    net = TripleEncoderUNet(**arguments).train()
    norms = [part for part in net.modules() if isinstance(part, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.train().momentum = 1.0
    with torch.no_grad():
        net(images(4, 3, 96, 96))
    for norm in norms:
        norm.momentum = 0.1
    return net.eval()


@pytest.fixture(scope="module")
def net():
    return settled(attention="non_local", skips=True)


@pytest.mark.parametrize(("models", "attention", "encoders", "frozen", "parameters", "trainable"), TABLE_1)
def test_counts_of_the_paper_s_table(models, attention, encoders, frozen, parameters, trainable):
    described = [triple_encoder_model(number) for number in models]
    assert {model[:3] for model in described} == {(attention, encoders, frozen)}
    assert {model.loss for model in described} == {"bce", "dice"}
    net = TripleEncoderUNet(encoders=encoders, attention=attention, freeze_encoders=frozen, encoder_weights="random")
    counts = [sum(p.numel() for p in net.parameters() if p.requires_grad >= only) for only in (False, True)]
    assert counts == [parameters, trainable]


def test_no_such_model():
    assert sorted(model for models, *_ in TABLE_1 for model in models) == list(range(1, 21))
    with pytest.raises(ValueError, match=r"from 1 to 20.*got 21"):
        triple_encoder_model(21)


@pytest.mark.parametrize("frozen", [True, False])
def test_frozen_encoders_stay_as_they_are_in_training(frozen):
    net = TripleEncoderUNet(encoders=[R], freeze_encoders=frozen, encoder_weights="random").train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2, weight_decay=0.1)
    net(images(2, 3, 64, 64)).square().mean().backward()
    optimizer.step()
    moved = {name for name, value in net.state_dict().items() if not torch.equal(value, before[name])}
    assert moved == {name for name in before if not (frozen and name.startswith("encoders."))}
    assert [part.training for part in net.encoders.modules()] == [not frozen] * len(list(net.encoders.modules()))
    assert net.decoder[0].training
    assert not net.eval().decoder[0].training


def test_dropout_takes_whole_channels_before_the_head_in_training_only():
    torch.manual_seed(0)
    net = TripleEncoderUNet(encoders=[R], freeze_encoders=True, dropout=0.5, encoder_weights="random")
    seen = []
    net.head.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    x = images(2, 3, 64, 64)
    with torch.no_grad():
        first, second = net(x), net(x)
        assert not torch.equal(first, second)
        dark = (seen[0] == 0).flatten(2).all(2)  # (2, 64)
        assert 32 < dark.sum() < 96  # expected 64 of 128
        net.eval()
        torch.testing.assert_close(net(x), net(x))


def test_skips_add_the_encoders_finer_features():
    net, plain = settled(encoders=[R, E], skips=True), TripleEncoderUNet(encoders=[R, E]).eval()
    loaded = plain.load_state_dict(net.state_dict(), strict=False)
    assert loaded.missing_keys == []
    assert loaded.unexpected_keys == [f"decoder.{i}.skip.projections.{e}.weight" for i in (1, 2, 3) for e in (0, 1)]
    x = images(1, 3, 64, 64)
    with torch.no_grad():
        assert (net(x) - plain(x)).abs().max() > 0.1 * net(x).std()
        for stage in net.decoder:
            for projection in stage.skip.projections:
                projection.weight.zero_()
        torch.testing.assert_close(net(x), plain(x))
