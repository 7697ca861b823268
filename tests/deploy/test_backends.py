"""Networks on other runtimes: in the place of the network, kept on disk, and what happens to bad files."""

import logging

import pytest
import torch
from hybrid_attention import cli
from hybrid_attention.deploy import backends
from hybrid_attention.deploy.backends import CHOICES, cache_path, convert, with_backend
from hybrid_attention.deploy.export import export_onnx
from hybrid_attention.deploy.onnx_networks import ExportedNetwork, has_bf16
from hybrid_attention.engines import PrecisionInferer
from hybrid_attention.networks.blocks.sfeb import SFEB
from monai.data import MetaTensor
from torch import nn

onnx = pytest.importorskip("onnx", reason="the extra `export` is not installed")
pytest.importorskip("openvino", reason="the extra `export` is not installed")
pytest.importorskip("onnxruntime", reason="the extra `export` is not installed")

RUNTIMES = ["onnx", "openvino"]
EXAMPLE = torch.rand(1, 2, 16, 16, generator=torch.Generator().manual_seed(0))


def small():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), SFEB(2, 4), nn.Conv2d(4, 1, 1)).eval()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HYBRID_ATTENTION_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def net():
    return small()


@pytest.fixture(scope="module")
def exported(net, tmp_path_factory):
    return export_onnx(net, tmp_path_factory.mktemp("exported") / "network.onnx", EXAMPLE).path


def assert_equal(found, expected):
    torch.testing.assert_close(found, expected.detach(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_equals_eager_and_keeps_what_came_with_the_image(runtime, net, exported):
    found = ExportedNetwork(exported, runtime, threads=1)
    for shape in ((1, 2, 16, 16), (3, 2, 9, 21), (2, 2, 1, 1)):
        batch = torch.rand(shape)
        assert_equal(found(batch), net(batch))
    first = found(EXAMPLE)
    kept = first.clone()
    found(EXAMPLE + 1)
    assert torch.equal(first, kept)  # its memory is its own
    output = found(MetaTensor(EXAMPLE, meta={"filename_or_obj": "a.png"}))
    assert isinstance(output, MetaTensor) and output.meta["filename_or_obj"] == "a.png"
    with pytest.raises(ValueError, match=r"takes float32 on the CPU, got torch\.float64"):
        found(EXAMPLE.double())
    for shape in ((1, 3, 16, 16), (1, 2, 4, 4, 4)):
        with pytest.raises(ValueError, match=r"network\.onnx can't be computed for a batch of ") as refused:
            found(torch.rand(shape))
        assert str(shape) in str(refused.value) and "\n" not in str(refused.value)


FOREIGN = '<ir_version: 9, opset_import: ["" : 20]> g (float[b, 2, h, w] x) => (float[b, 2, h, w] y) { y = Relu(x) }'


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_bad_files(runtime, exported, tmp_path):
    with pytest.raises(FileNotFoundError, match="no exported network at"):
        ExportedNetwork(tmp_path / "nothing.onnx", runtime)
    for content, message in (
        (b"not a network\n", "is not a readable ONNX model"),
        (exported.read_bytes()[:1000], "is not a readable ONNX model"),
        (onnx.parser.parse_model(FOREIGN).SerializeToString(), "must have the input image and the output pred, got x"),
    ):
        (tmp_path / "bad.onnx").write_bytes(content)
        with pytest.raises(ValueError, match=f"bad.onnx {message}"):
            ExportedNetwork(tmp_path / "bad.onnx", runtime)


def test_precisions_of_openvino(net, exported, monkeypatch):
    with pytest.raises(ValueError, match="precision must be one of fp32, bf16, got 'fp16'"):
        ExportedNetwork(exported, "openvino", precision="fp16")
    if has_bf16():
        with torch.no_grad():
            difference = (ExportedNetwork(exported, "openvino", precision="bf16")(EXAMPLE) - net(EXAMPLE)).abs().max()
        assert 0 < difference < 0.05  # other arithmetic, but not by much
    monkeypatch.setattr("hybrid_attention.deploy.onnx_networks.has_bf16", lambda: False)
    with pytest.raises(ValueError, match="does not compute in bf16"):
        ExportedNetwork(exported, "openvino", precision="bf16")


class Scaled(nn.Conv2d):
    """A setting that neither weights nor `repr` show."""

    factor = 1.0

    def forward(self, x):
        return self.factor * super().forward(x)


@pytest.mark.parametrize("backend", RUNTIMES)
def test_a_kept_file_of_another_setting_or_a_damaged_one_is_written_again(backend, caplog):
    network = Scaled(2, 1, 1)
    convert(network, backend, EXAMPLE)
    network.factor = 2.0
    for message in ("computes something else", "not a readable ONNX model"):
        with caplog.at_level(logging.WARNING):
            found = convert(network, backend, EXAMPLE)
        assert message in caplog.text
        assert_equal(found(EXAMPLE), network(EXAMPLE))
        cache_path(network).write_bytes(b"half a file")


def test_the_folder_of_the_cache(net, tmp_path, monkeypatch, caplog):
    monkeypatch.delenv("HYBRID_ATTENTION_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_path(net).parent == tmp_path / "hybrid_attention"
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HYBRID_ATTENTION_CACHE", str(tmp_path / "file" / "cache"))
    with caplog.at_level(logging.WARNING):
        assert_equal(convert(net, "onnx", EXAMPLE)(EXAMPLE), net(EXAMPLE))
    assert "HYBRID_ATTENTION_CACHE" in caplog.text


@pytest.mark.parametrize(
    ("asked", "bf16", "missing", "expected"),
    [
        (("auto", "auto", 29), True, (), None),  # too few to pay for the conversion
        (("auto", "fp32", 30), True, (), ("onnx", "fp32")),
        (("auto", "bf16"), True, (), ("openvino", "bf16")),
        (("auto", "bf16"), False, (), None),
        (("auto", "auto"), True, (), ("openvino", "bf16")),
        (("auto", "auto"), False, (), ("onnx", "fp32")),
        (("openvino", "auto"), True, (), ("openvino", "bf16")),
        (("openvino", "auto"), False, (), ("openvino", "fp32")),
        (("onnx", "auto"), True, (), ("onnx", "fp32")),
        (("auto", "fp32"), True, ("openvino", "onnxruntime"), None),
        (("auto", "fp32"), True, ("onnxscript",), None),
        (("auto", "fp32"), True, ("openvino",), ("onnx", "fp32")),
        (("auto", "fp32"), True, ("onnxruntime",), ("openvino", "fp32")),
    ],
)
def test_choice_of_backend_and_precision(asked, bf16, missing, expected, net, monkeypatch):
    backend, precision, *images = asked
    monkeypatch.setattr("hybrid_attention.engines.inferers.computes_bf16", lambda kind: bf16)
    monkeypatch.setattr("hybrid_attention.deploy.backends.has_bf16", lambda: bf16)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name in missing else name)
    placed = with_backend(backend, net, precision, *images)
    assert placed is net if expected is None else (placed.backend, placed.precision) == expected


def test_converted_once_at_the_first_batch_in_its_own_precision(cache, monkeypatch):
    network, calls = small(), []
    monkeypatch.setattr(backends, "export_onnx", lambda *words: (calls.append(1), export_onnx(*words)))
    placed = [with_backend(backend, network, "fp32") for backend in RUNTIMES]
    assert not cache.exists()
    with torch.no_grad():
        for weight in network.parameters():
            weight.mul_(1.5)
        for one in placed:
            assert_equal(PrecisionInferer("bf16")(EXAMPLE, one), network(EXAMPLE))
            assert_equal(one(EXAMPLE[..., :9]), network(EXAMPLE[..., :9]))
    assert calls == [1] and list(cache.iterdir()) == [cache_path(network)]


def test_what_a_backend_cannot_do(net):
    assert set(cli.models.BACKENDS) == set(CHOICES)  # the command line offers all of them
    with pytest.raises(ValueError, match="onnx computes in fp32, not in bf16"):
        with_backend("onnx", net, "bf16")
    elsewhere = small().to("meta")  # as on a GPU
    assert with_backend("auto", elsewhere, images=30) is elsewhere
    with pytest.raises(ValueError, match=r"openvino computes on the CPU, but the network is on meta"):
        with_backend("openvino", elsewhere)
