"""What holds for every network: its table of shapes and parameters, training, Grad-CAM's layer, and its other forms."""

import functools
import zlib

import pytest
import torch
from hybrid_attention.networks import (
    DeepAttentionUNet,
    HybridAttentionNet,
    HybridLiteNet,
    HybridMultiTaskNet,
    MaskAndClasses,
    MultiTaskOCANet,
    MultiTaskOutput,
    MultiTaskUNet,
    PlainUNet,
    TripleEncoderUNet,
    baselines,
    with_group_norm,
)

R, D, E = "resnet18", "densenet121", "efficientnet-b0"
BASELINE = {"conv_block": False, "sfeb": False, "tam": False}
TRIPLE_3D = {"spatial_dims": 3, "in_channels": 1, "encoders": [R, E], "skips": True}
DROPOUT = {"encoder_dropout": (0.1, 0.2), "decoder_dropout": (0.3, 0.4)}
SLIM_DEEP = {"channels": (4, 8), "bottleneck_channels": 6, "decoder_channels": (5, 3)} | DROPOUT
OCA, SMALL_OCA, SMALL_UPP = {"channels": (32, 16, 24)}, {"channels": (16, 24)}, {"channels": (4, 4, 8, 8, 8)}
HAN_3D = {"spatial_dims": 3, "in_channels": 1, "sfeb": False, "tam": False}
TABLE = [  # network, arguments, input shape, output channels, trainable parameters
    (HybridAttentionNet, BASELINE, (1, 3, 64, 64), 1, 10_498_945),
    (HybridAttentionNet, BASELINE | {"conv_block": True}, (1, 3, 48, 64), 1, 11_089_537),
    (HybridAttentionNet, {"tam": False}, (1, 3, 64, 64), 1, 15_339_329),
    (HybridAttentionNet, {}, (2, 3, 51, 77), 1, 15_427_713),
    (HybridAttentionNet, {"sfeb_pooling": "global"}, (1, 3, 64, 64), 1, 15_427_713),
    (HybridAttentionNet, {"tam_heads": 4, "tsa_scale": "channels"}, (1, 3, 48, 64), 1, 15_427_713),
    (HybridAttentionNet, {"in_channels": 1, "out_channels": 2}, (1, 1, 33, 64), 2, 15_427_713 - 2 * 64 * 49 + 65),
    (HybridAttentionNet, {"encoder_depth": 4}, (1, 3, 45, 64), 1, 23_490_945),
    (HybridAttentionNet, {"spatial_dims": 3, "in_channels": 1}, (1, 1, 17, 32, 16), 1, 40_360_321),
    (HybridAttentionNet, {"encoder": R}, (1, 3, 45, 64), 1, 23_658_561),
    (HybridAttentionNet, {"encoder": E}, (1, 3, 45, 64), 1, 17_650_813),
    (HybridAttentionNet, {"encoder": "efficientnet-lite2"}, (1, 3, 45, 64), 1, 15_899_969),
    (HybridMultiTaskNet, {}, (2, 3, 37, 50), 2, 15_559_877),
    (HybridMultiTaskNet, {"num_classes": None}, (1, 3, 32, 48), 2, 15_427_713 + 65),
    (HybridMultiTaskNet, HAN_3D, (1, 1, 32, 16, 17), 2, 27_970_501),
    (HybridLiteNet, {}, (2, 1, 64, 96), 2, 3_988_357),
    (HybridLiteNet, {"encoder": "lite2", "tam": True, "sfeb": True}, (1, 1, 45, 77), 2, 6_086_901),
    (TripleEncoderUNet, {"skips": True}, (1, 3, 33, 95), 1, 24_812_805),
    (TripleEncoderUNet, {"encoders": [E], "attention": None, "out_channels": 3}, (1, 3, 32, 33), 3, 4_860_991),
    (TripleEncoderUNet, {"encoders": [R], "in_channels": 1}, (1, 1, 97, 32), 1, 11_709_321),
    (TripleEncoderUNet, TRIPLE_3D, (1, 1, 33, 32, 40), 1, 39_350_325),
    (DeepAttentionUNet, {}, (1, 1, 33, 45), 1, 14_378_733),
    (DeepAttentionUNet, {"attention_gates": False}, (1, 1, 16, 17), 1, 14_114_241),
    (DeepAttentionUNet, SLIM_DEEP | {"in_channels": 2, "out_channels": 3}, (2, 2, 4, 6), 3, 3_661),
    (DeepAttentionUNet, SLIM_DEEP | {"spatial_dims": 3}, (1, 1, 5, 8, 7), 1, 10_187),
    (PlainUNet, {}, (1, 3, 33, 45), 1, 34_513_345),
    (PlainUNet, {"channels": (4, 8, 16), "out_channels": 2}, (2, 3, 4, 5), 2, 8_274),
    (PlainUNet, {"spatial_dims": 3, "in_channels": 1, "channels": (4, 8)}, (1, 1, 5, 8, 7), 1, 5_333),
    (MultiTaskUNet, {}, (2, 2, 64, 64), 2, 8_314_373),
    (MultiTaskUNet, {"num_classes": None}, (1, 2, 33, 45), 2, 7_788_034),
    (MultiTaskUNet, {"channels": (8, 16), "num_regions": 3}, (1, 2, 4, 6), 3, 32_206),
    (MultiTaskUNet, {"spatial_dims": 3, "channels": (16, 24, 32)}, (1, 2, 9, 16, 11), 2, 444_325),
    (MultiTaskOCANet, {}, (2, 2, 64, 64), 2, 8_245_159),
    (MultiTaskOCANet, {"classify_on": "object_context"}, (1, 2, 40, 48), 2, 8_245_159),
    (MultiTaskOCANet, {"object_context": False}, (1, 2, 51, 77), 2, 8_228_101),
    (MultiTaskOCANet, {"num_classes": None}, (1, 2, 8, 9), 2, 8_236_708),
    (MultiTaskOCANet, {"num_regions": 3}, (1, 2, 16, 15), 3, 8_245_159 + 2 * 65),
    (MultiTaskOCANet, {"channels": (32, 16)}, (1, 2, 4, 7), 2, 73_751),
    (MultiTaskOCANet, {"spatial_dims": 3, "channels": (32, 16, 24)}, (1, 2, 9, 16, 11), 2, 338_903),
    (baselines.basic_unet, {}, (1, 3, 33, 45), 1, 7_783_425),
    (baselines.residual_unet, {}, (1, 3, 33, 45), 1, 6_500_734),
    (baselines.unet_plus_plus, {}, (1, 3, 33, 45), 1, 9_119_332 - 3 * 33),
    (baselines.unet_plus_plus, {"deep_supervision": True}, (1, 3, 33, 45), 1, 9_119_332),
    (baselines.attention_unet, {}, (1, 3, 33, 45), 1, 7_940_321),
    (baselines.segresnet, {}, (1, 3, 33, 45), 1, 6_299_073),
    (baselines.segresnet, {"in_channels": 1, "out_channels": 2}, (1, 1, 9, 16), 2, 6_299_073 - 2 * 9 * 32 + 33),
    (baselines.swin_unetr, {}, (1, 3, 33, 45), 1, 6_302_875),
    (baselines.flexible_unet, {}, (1, 3, 33, 45), 1, 7_060_277 - 320 * 1280 - 2 * 1280 - 1281 * 1000),
    (baselines.flexible_unet, {"backbone": "resnet34"}, (1, 3, 33, 45), 1, 23_653_745),
    (baselines.nnunet, {}, (1, 3, 33, 45), 1, 20_617_697),
    # 320 + 64 + 9,248 + 64 fine; 18,496 + 128 + 36,928 + 128 coarse; 8,224 up; 18,464 + 64 + 9,248 + 64; 33 head
    (baselines.nnunet, {"stages": 2, "in_channels": 1}, (1, 1, 3, 9), 1, 101_473),
    (baselines.nnunet, {"spatial_dims": 3, "stages": 2}, (1, 3, 5, 4, 7), 1, 296_289),
    (baselines.nnunet_residual, {}, (1, 3, 33, 45), 1, 71_815_201),
    (baselines.AAUNet, {}, (1, 3, 33, 45), 1, 26_175_082),
    (baselines.AAUNet, {"channels": (64, 128, 256, 512, 1024)}, (1, 3, 16, 16), 1, 104_623_306),
    (baselines.BGRAGSA, {}, (1, 3, 33, 45), 1, 39_200_586 + 62_143_440),
    (baselines.BGRAGSA, {"encoder": E, "in_channels": 1}, (1, 1, 32, 64), 1, 28_645_706 + 3_595_388 - 2 * 32 * 9),
    (baselines.EHFormerCoarse, {}, (1, 3, 33, 45), 1, 86_371_345),
    (baselines.EHFormer, {}, (1, 3, 32, 33), 1, 184_258_051),
    (baselines.MTDUNet, {}, (2, 1, 33, 45), 2, 30_703_941),
    (baselines.MTDUNet, {"num_classes": 2}, (1, 1, 32, 64), 2, 30_703_428),
    (baselines.SwinUNet, {}, (1, 3, 33, 45), 1, 27_168_132),
    (baselines.SwinUNet, {"out_channels": 9}, (1, 3, 64, 64), 9, 27_168_900),
    (baselines.SwinUNet, {"window_size": 8, "in_channels": 1}, (2, 1, 32, 77), 1, 27_175_524 - 2 * 16 * 96),
]
FROZEN = {"encoders": [R], "attention": None, "freeze_encoders": True, "encoder_weights": "random"}
SMALL = {  # name: network, arguments, input channels, smallest side
    "han": (HybridAttentionNet, {}, 3, 16),
    "han, whole encoder": (HybridAttentionNet, {"encoder_depth": 4, "sfeb_pooling": "global"}, 3, 32),
    "han, multi-task": (HybridMultiTaskNet, {"in_channels": 2}, 2, 16),
    "lite": (HybridLiteNet, {"tam": True, "sfeb": True, "drop": 0.0}, 1, 32),
    "triple, cbam": (TripleEncoderUNet, {"encoders": [R, E]}, 3, 32),
    "triple, non-local": (TripleEncoderUNet, {"attention": "non_local", "skips": True}, 3, 32),
    "triple, frozen": (TripleEncoderUNet, FROZEN, 3, 32),
    "deep": (DeepAttentionUNet, SLIM_DEEP, 1, 4),
    "plain": (PlainUNet, {"channels": (4, 8, 16)}, 3, 4),
    "unet, multi-task": (MultiTaskUNet, {"channels": (16, 24, 32)}, 2, 8),
    "oca": (MultiTaskOCANet, OCA, 2, 8),
    "oca, no context": (MultiTaskOCANet, OCA | {"object_context": False}, 2, 8),
    "oca, classes on context": (MultiTaskOCANet, SMALL_OCA | {"classify_on": "object_context"}, 2, 4),
    "aau_net": (baselines.AAUNet, {"channels": (4, 8, 16)}, 3, 4),
    "bgra_gsa": (baselines.BGRAGSA, {"encoder": E, "channels": (32, 16, 8, 8, 4)}, 3, 32),
    "eh_former, coarse": (baselines.EHFormerCoarse, {"backbone": "mit_b0"}, 3, 32),
    "eh_former, frozen": (baselines.EHFormer, {"backbone": "mit_b0"}, 3, 32),
    "mt_dunet": (baselines.MTDUNet, {"in_channels": 2, "channels": (4, 8, 16, 16)}, 2, 8),
    "swin_unet": (baselines.SwinUNet, {"channels": 12}, 3, 32),
    "oca, volumes": (MultiTaskOCANet, OCA | {"spatial_dims": 3}, 2, 8),
}
PADDED = {
    "basic_unet": (baselines.basic_unet, SMALL_UPP, 3, 17),
    "residual_unet": (baselines.residual_unet, {"channels": (4, 8, 16)}, 3, 5),
    "unet_plus_plus": (baselines.unet_plus_plus, SMALL_UPP, 3, 17),
    "unet_plus_plus, deep": (baselines.unet_plus_plus, SMALL_UPP | {"deep_supervision": True}, 3, 17),
    "attention_unet": (baselines.attention_unet, {"channels": (4, 8, 16)}, 3, 5),
    "segresnet": (baselines.segresnet, {"init_filters": 8}, 3, 9),
    "swin_unetr": (baselines.swin_unetr, {"feature_size": 12}, 3, 33),
    "flexible_unet": (baselines.flexible_unet, {}, 3, 33),
    "nnunet": (baselines.nnunet, {"stages": 3}, 3, 5),
    "nnunet_residual": (baselines.nnunet_residual, {"stages": 3}, 3, 5),
}
ALL = SMALL | PADDED


def tensors(output):
    """The tensors of an output, of one or of several heads."""
    return [output] if isinstance(output, torch.Tensor) else [part for part in output if part is not None]


@functools.cache
def fixed(name, gain=2.0):
    """A network in evaluation whose weights follow from their names and shapes alone; ReLU keeps the size by gain 2."""
    network, arguments, _, _ = ALL[name]
    net = network(**arguments).eval()
    for key, value in net.state_dict().items():
        generator = torch.Generator().manual_seed(zlib.crc32(key.encode()))
        if not value.is_floating_point():
            continue
        if value.ndim > 1:
            value.normal_(0, (gain / value[0].numel()) ** 0.5, generator=generator)
        elif key.endswith(("running_var", "weight")):
            value.uniform_(0.5, 1.5, generator=generator)
        else:
            value.normal_(0, 0.1, generator=generator)
    return net


def images(name, *sides, batch=1):
    sides = (*sides, 9) if ALL[name][1].get("spatial_dims") == 3 else sides
    return torch.rand(batch, ALL[name][2], *sides, generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize(("network", "arguments", "shape", "channels", "parameters"), TABLE)
def test_shapes_and_parameter_counts(network, arguments, shape, channels, parameters):
    net = network(**arguments).eval()
    with torch.no_grad():
        output = net(torch.rand(shape))
    expected = [(shape[0], channels, *shape[2:])]
    if network is MultiTaskOCANet and arguments.get("object_context", True):
        expected *= 2  # the coarse mask
    if isinstance(output, MultiTaskOutput) and (classes := arguments.get("num_classes", 3)):
        expected.append((shape[0], classes))
    assert [tuple(part.shape) for part in tensors(output)] == expected
    assert sum(p.numel() for p in net.parameters() if p.requires_grad) == parameters


BAD = [  # network, arguments, message
    (HybridAttentionNet, {"sfeb_pooling": "mean"}, "'local', 'global'.*got 'mean'"),
    (HybridAttentionNet, {"spatial_dims": 1}, "spatial_dims must be 2 or 3, got 1"),
    (HybridAttentionNet, {"encoder": "vgg16"}, "vgg16"),
    (HybridAttentionNet, {"encoder_depth": 2}, "3 or 4, got 2"),
    (HybridAttentionNet, {"encoder": "efficientnet-lite0", "spatial_dims": 3}, "spatial_dims=2, got 3"),
    (HybridAttentionNet, {"tam_heads": 0}, "num_heads, got 64 and 0"),
    (HybridAttentionNet, {"tam_heads": 64}, "num_heads, got 64 and 64"),
    (HybridAttentionNet, {"tsa_scale": "rows"}, "'rows'"),
    (HybridMultiTaskNet, {"num_regions": 1}, "num_regions must be at least 2.*got 1"),
    (HybridLiteNet, {"channels": (16, 8)}, r"channels .*\[16, 8\]"),
    (HybridLiteNet, {"encoder": "lite7"}, "lite7"),
    (HybridLiteNet, {"num_classes": 1}, "num_classes must be at least 2, or None.*got 1"),
    (TripleEncoderUNet, {"encoders": [R, "vgg16"]}, r"got \['resnet18', 'vgg16'\]"),
    (TripleEncoderUNet, {"encoders": R}, "got 'resnet18'"),
    (TripleEncoderUNet, {"attention": "se"}, r"\('cbam', 'non_local', None\), got 'se'"),
    (DeepAttentionUNet, SLIM_DEEP | {"decoder_channels": (5, 4, 3)}, "'decoder_channels': 3"),
    (MultiTaskOCANet, {"classify_on": "encoder"}, r"\('backbone', 'object_context'\), got 'encoder'"),
    (MultiTaskOCANet, {"classify_on": "object_context", "object_context": False}, "object_context=False"),
    (MultiTaskOCANet, {"classify_on": "object_context", "num_classes": None}, "num_classes=None"),
    (baselines.BGRAGSA, {"encoder": "resnet18"}, "efficientnet-b7.*got 'resnet18'"),
    (baselines.BGRAGSA, {"channels": (8, 4)}, r"channels needs 5 widths, got \(8, 4\)"),
    (baselines.EHFormer, {"backbone": "b0"}, "mit_b5.*got 'b0'"),
    (baselines.SwinUNet, {"channels": 8}, "multiple of 3.*got 8"),
    (baselines.MTDUNet, {"num_classes": 1}, "num_classes must be at least 2.*got 1"),
    (with_group_norm, {"network": torch.nn.Conv2d(3, 8, 3)}, "Conv2d has no batch norm"),
]


@pytest.mark.parametrize(("network", "arguments", "message"), BAD)
def test_bad_arguments_are_refused(network, arguments, message):
    with pytest.raises(ValueError, match=message):
        network(**arguments)


def test_every_baseline_is_tested():
    names = set(baselines.__all__)
    assert names <= {row[0].__name__ for row in TABLE} & {row[0].__name__ for row in ALL.values()}
    assert names - set(PADDED) == {name for name in names if isinstance(getattr(baselines, name), type)}


@pytest.mark.parametrize("name", ALL)
def test_backward_reaches_every_parameter(name):
    network, arguments, _, least = ALL[name]
    torch.manual_seed(0)
    net = network(**arguments)
    for weight in net.parameters() if name in PADDED else ():  # nnU-Net starts with residual branches that give zero
        weight.data.add_(0.1 * torch.randn_like(weight))
    sum(part.square().mean() for part in tensors(net(images(name, 2 * least, 2 * least, batch=3)))).backward()
    learning = {key: weight for key, weight in net.named_parameters() if weight.requires_grad}
    assert all(weight.grad is not None for weight in learning.values())
    dead = {key for key, weight in learning.items() if weight.grad.abs().max() == 0}
    # A norm takes the bias before it out again, and softmax what φ's bias adds to a row: zero but for rounding.
    assert all(key.endswith((".conv.bias", "channel_gate.0.bias", "attention.phi.bias")) for key in dead)
    frozen = {key for key, _ in net.named_parameters() if key not in learning}
    assert all(key.startswith(("encoders.", "coarse.")) for key in frozen) and bool(frozen) == ("frozen" in name)


@pytest.mark.parametrize("name", ALL)
def test_gradcam_layer_is_one_feature_map_that_every_task_depends_on(name):
    net, maps = fixed(name), []
    handle = net.get_submodule(net.gradcam_layer).register_forward_hook(lambda *call: maps.append(call[2]))
    x = images(name, 64, 70)
    output = tensors(net(x))
    handle.remove()
    assert len(maps) == 1 and maps[0].ndim == x.ndim
    for logits in output:
        (gradient,) = torch.autograd.grad(logits.square().sum(), maps[0], retain_graph=True)
        assert gradient.abs().max() > 0


@pytest.mark.parametrize("name", ALL)
def test_input_that_does_not_fit_is_refused(name):
    net, channels, least = fixed(name), *ALL[name][2:]
    x = images(name, 64, 64)
    with pytest.raises(ValueError, match=f"expected {channels} input channels, received {channels + 1}"):
        net(torch.cat([x, x[:, :1]], dim=1))
    with pytest.raises(ValueError, match=f"{least - 1}.*too small"):
        net(x[:, :, : least - 1])
    with pytest.raises(ValueError, match=f"spatial dimensions, received {x.ndim - 1}"):
        net(x[0])


@pytest.mark.parametrize("name", SMALL)
def test_scripted_equals_eager_and_keeps_its_errors(name):
    net, channels = fixed(name), ALL[name][2]
    scripted = torch.jit.script(net)
    with torch.no_grad(), torch.jit.optimized_execution(False):
        x = images(name, 37, 50)
        torch.testing.assert_close(tensors(scripted(x)), tensors(net(x)), rtol=1e-4, atol=1e-4)
        with pytest.raises(torch.jit.Error, match=f"ValueError: expected {channels} input channels"):
            scripted(torch.cat([x, x[:, :1]], dim=1))


@pytest.mark.parametrize("name", [name for name in SMALL if name != "oca, volumes"])
def test_onnx_file_equals_eager_at_other_sizes(name, tmp_path, recwarn):
    onnxruntime = pytest.importorskip("onnxruntime", reason="the extra `export` is not installed")
    net = fixed(name)
    net = net if isinstance(net(images(name, 32, 32)), torch.Tensor) else MaskAndClasses(net).eval()
    x, other = images(name, 64, 48, batch=2), images(name, 37, 50)
    axes = {"x": {0: "batch", 2: "height", 3: "width"}, "y": {0: "batch", 2: "height", 3: "width"}}
    path, names = str(tmp_path / "net.onnx"), {"input_names": ["x"], "output_names": ["y"], "dynamic_axes": axes}
    with torch.no_grad():
        torch.onnx.export(net, (x,), path, dynamo=False, opset_version=18, **names)
        expected = net(other)
    warned = {w.filename for w in recwarn if issubclass(w.category, torch.jit.TracerWarning)}
    assert warned <= {torch.nn.functional.__file__}  # of a check in PyTorch's group norm
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"x": other.numpy()})
    torch.testing.assert_close(torch.from_numpy(found), expected, rtol=1e-3, atol=1e-3)


SLOW = [("han", 32, {}), ("triple, non-local", 64, {})]
SLOW += [("swin_unet", 225, {"prefer_deferred_runtime_asserts_over_guards": True})]
QUICK = [(name, 2 * ALL[name][3], {}) for name in ("deep", "plain", "unet, multi-task", "oca")]


@pytest.mark.parametrize(
    ("name", "least", "options"), [*QUICK, *(pytest.param(*case, marks=pytest.mark.slow) for case in SLOW)]
)
def test_exported_program_equals_eager_at_other_sizes(name, least, options):
    net, dim = fixed(name), torch.export.Dim
    sizes = {0: dim("batch", max=64), 2: dim("height", min=least, max=2048), 3: dim("width", min=least, max=2048)}
    x = images(name, least + 26, least + 36, batch=2)
    exported = torch.export.export(net, (x,), dynamic_shapes=(sizes,), **options).module()
    with torch.no_grad():
        for x in (images(name, least, least + 32), images(name, least + 13, least + 66, batch=3)):
            torch.testing.assert_close(tensors(exported(x)), tensors(net(x)), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", [name for name in SMALL if name != "oca, volumes"])
def test_channels_last_under_bfloat16_autocast_stays_near_float32(name):
    net = fixed(name, gain=1.0)
    x = images(name, 64, 64, batch=2)
    with torch.no_grad():
        expected = tensors(net(x))
        with torch.autocast("cpu", torch.bfloat16):
            output = tensors(net(x.contiguous(memory_format=torch.channels_last)))
    for one, other in zip(output, expected, strict=True):
        assert one.dtype == torch.bfloat16
        assert (one.float() - other).abs().max() < 0.1 * other.abs().max()


GOLDEN = {  # name: mean, spread and the last but one logit of the second image, of each head
    "han": [[2.19832, 1.71859, 0.62999]],
    "han, whole encoder": [[3.7099, 1.05088, 1.80914]],
    "han, multi-task": [[0.947733, 1.27362, 0.0815649], [1.05661, 2.12738, 1.8394]],
    "lite": [[2.0067, 4.55413, 3.94709], [-0.0242058, 2.5796, 3.76286]],
    "triple, cbam": [[0.228928, 0.00652697, 0.228064]],
    "triple, non-local": [[10.1097, 2.06089, 6.94184]],
    "triple, frozen": [[0.420592, 0.225785, 0.488104]],
    "deep": [[-0.296, 0.27791, -0.0968144]],
    "plain": [[-0.154137, 0.333043, 0.232752]],
    "unet, multi-task": [[-0.516172, 0.606776, 0.419426], [-0.562598, 3.68124, 2.24426]],
    "oca": [[6.7013, 3.53587, 10.1715], [12.6726, 3.17878, 11.1232], [-1.96934, 12.2895, -13.0998]],
    "oca, no context": [[5.10666, 12.2259, -3.9194], [-1.96934, 12.2895, -13.0998]],
    "oca, classes on context": [[0.401264, 1.30893, 1.61923], [3.6462, 3.93607, 3.61005], [-13.0325, 8.6434, -20.5195]],
    "oca, volumes": [[7.35268, 2.67954, 10.559], [15.9115, 7.12485, 7.18412], [-1.84852, 15.4458, -15.4532]],
    "aau_net": [[0.0953112, 0.109191, 0.0821481]],
    "bgra_gsa": [[0.275571, 0.0471593, 0.319992]],
    "eh_former, coarse": [[1.06278, 0.80821, 0.979483]],
    "eh_former, frozen": [[0.505434, 0.572772, 0.923399]],
    "mt_dunet": [[1.51121, 1.34977, 0.199439], [3.79308, 2.76456, 1.35246]],
    "swin_unet": [[-0.180158, 1.30891, -1.98549]],
    "basic_unet": [[-0.0296922, 0.308614, -1.23625]],
    "residual_unet": [[-16.2731, 81.2826, -6.02587]],
    "unet_plus_plus": [[-0.480005, 0.64552, -0.177801]],
    "unet_plus_plus, deep": [[0.00956256, 0.404593, -0.0727613]],
    "attention_unet": [[-0.0918444, 1.0506, -1.42453]],
    "segresnet": [[-0.170612, 0.702734, 0.00778982]],
    "swin_unetr": [[1.63173, 1.45635, 1.87547]],
    "flexible_unet": [[-0.485975, 0.508873, 0.559675]],
    "nnunet": [[0.214567, 0.890501, -0.575744]],
    "nnunet_residual": [[0.236437, 0.997968, -0.125269]],
}


@pytest.mark.parametrize("name", ALL)
def test_golden_output(name):
    """It changes with the network's formula, and with the names and shapes of its weights."""
    with torch.no_grad():
        output = tensors(fixed(name)(images(name, 37, 50, batch=2)))
    found = [[part.mean().item(), part.std().item(), part[1].flatten()[-2].item()] for part in output]
    assert found == [pytest.approx(row, rel=1e-3, abs=1e-4) for row in GOLDEN[name]]
