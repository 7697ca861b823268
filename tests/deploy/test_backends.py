"""Networks on other runtimes: in the place of the network, kept on disk, and what happens to bad files."""

import logging
import os
import subprocess
import sys

import pytest
import torch
from hybrid_attention import cli
from hybrid_attention.deploy import backends
from hybrid_attention.deploy.backends import CHOICES, cache_path, convert, with_backend
from hybrid_attention.deploy.export import export_onnx
from hybrid_attention.deploy.onnx_networks import ExportedNetwork, has_bf16
from hybrid_attention.engines import PrecisionInferer
from hybrid_attention.networks.baselines import residual_unet
from hybrid_attention.networks.blocks.sfeb import SFEB
from monai.data import MetaTensor
from torch import nn

onnx = pytest.importorskip("onnx", reason="the extra `export` is not installed")
pytest.importorskip("openvino", reason="the extra `export` is not installed")
pytest.importorskip("onnxruntime", reason="the extra `export` is not installed")

RUNTIMES = ["onnx", "openvino"]
SCAN = torch.rand(2, 3, 32, 48, generator=torch.Generator().manual_seed(0))
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


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_equals_eager_and_keeps_what_came_with_the_image(runtime, net, exported):
    found = ExportedNetwork(exported, runtime, threads=1)
    for shape in ((1, 2, 16, 16), (3, 2, 9, 21), (2, 2, 1, 1)):
        batch = torch.rand(shape)
        with torch.no_grad():
            torch.testing.assert_close(found(batch), net(batch), rtol=1e-4, atol=1e-5)
    first = found(EXAMPLE)
    kept = first.clone()
    found(EXAMPLE + 1)
    assert torch.equal(first, kept)  # its memory is its own
    output = found(MetaTensor(EXAMPLE, meta={"filename_or_obj": "a.png"}))
    assert isinstance(output, MetaTensor)
    assert output.meta["filename_or_obj"] == "a.png"


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_unfit_batches_are_refused_in_one_line(runtime, exported):
    found = ExportedNetwork(exported, runtime)
    with pytest.raises(ValueError, match=r"takes float32 on the CPU, got torch\.float64"):
        found(torch.rand(1, 2, 16, 16, dtype=torch.float64))
    for shape in ((1, 3, 16, 16), (1, 2, 4, 4, 4)):
        with pytest.raises(ValueError, match=r"network\.onnx can't be computed for a batch of ") as refused:
            found(torch.rand(shape))
        assert str(shape) in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_bad_files(runtime, exported, tmp_path):
    with pytest.raises(FileNotFoundError, match="no exported network at"):
        ExportedNetwork(tmp_path / "nothing.onnx", runtime)
    (tmp_path / "text.onnx").write_text("this is no network\n")
    with pytest.raises(ValueError, match=r"text\.onnx is not a readable ONNX model"):
        ExportedNetwork(tmp_path / "text.onnx", runtime)
    (tmp_path / "cut.onnx").write_bytes(exported.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"cut\.onnx is not a readable ONNX model"):
        ExportedNetwork(tmp_path / "cut.onnx", runtime)
    foreign = onnx.parser.parse_model(
        '<ir_version: 9, opset_import: ["" : 20]> g (float[b, 2, h, w] x) => (float[b, 2, h, w] y) { y = Relu(x) }'
    )
    onnx.save(foreign, str(tmp_path / "foreign.onnx"))
    with pytest.raises(ValueError, match=r"foreign\.onnx must have the input image and the output pred, got x and y"):
        ExportedNetwork(tmp_path / "foreign.onnx", runtime)


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


def test_converted_once(net, cache, monkeypatch):
    calls = []
    monkeypatch.setattr(backends, "export_onnx", lambda *words: (calls.append(1), export_onnx(*words)))
    for backend in ("openvino", "onnx", "openvino"):
        found = convert(net, backend, EXAMPLE, threads=1)
        assert not found.training
        torch.testing.assert_close(found(EXAMPLE), net(EXAMPLE).detach(), rtol=1e-4, atol=1e-5)
    assert calls == [1]
    assert list(cache.iterdir()) == [cache_path(net)]
    other = small()
    with torch.no_grad():
        other[0].bias[0] += 1
    torch.testing.assert_close(convert(other, "onnx", EXAMPLE)(EXAMPLE), other(EXAMPLE).detach())
    assert calls == [1, 1]


class Scaled(nn.Conv2d):
    """A setting that neither weights nor `repr` show."""

    factor = 1.0

    def forward(self, x):
        return self.factor * super().forward(x)


@pytest.mark.parametrize("backend", ["onnx", "openvino"])
def test_a_kept_file_of_another_setting_or_a_damaged_one_is_written_again(backend, caplog):
    network = Scaled(2, 1, 1)
    convert(network, backend, EXAMPLE)
    network.factor = 2.0
    for message in ("computes something else", "not a readable ONNX model"):
        with caplog.at_level(logging.WARNING):
            found = convert(network, backend, EXAMPLE)
        assert message in caplog.text
        torch.testing.assert_close(found(EXAMPLE), network(EXAMPLE).detach(), rtol=1e-4, atol=1e-5)
        cache_path(network).write_bytes(b"half a file")


def test_the_folder_of_the_cache(net, tmp_path, monkeypatch, caplog):
    monkeypatch.delenv("HYBRID_ATTENTION_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_path(net).parent == tmp_path / "hybrid_attention"
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HYBRID_ATTENTION_CACHE", str(tmp_path / "file" / "cache"))
    with caplog.at_level(logging.WARNING):
        found = convert(net, "onnx", EXAMPLE)
    assert "HYBRID_ATTENTION_CACHE" in caplog.text
    torch.testing.assert_close(found(EXAMPLE), net(EXAMPLE).detach(), rtol=1e-4, atol=1e-5)


def test_openvino_sends_nothing():
    code = (
        "import os; from hybrid_attention.deploy.onnx_networks import require; require('openvino');"
        "from openvino.tools import ovc; print(ovc.telemetry.consent, os.environ.get('CI'))"
    )
    environment = {name: value for name, value in os.environ.items() if name != "CI"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "None"]


@pytest.fixture
def network():
    torch.manual_seed(0)
    return residual_unet(channels=(4, 8, 16)).eval()


def test_torch_is_the_network_itself(network):
    assert set(cli.models.BACKENDS) == set(CHOICES)  # the command line offers all of them
    assert with_backend("torch", network) is with_backend("torch", network, "fp16") is network


def test_auto_converts_where_it_pays(network, monkeypatch):
    monkeypatch.setattr("hybrid_attention.deploy.backends.has_bf16", lambda: True)
    assert with_backend("auto", network, images=29) is network
    assert with_backend("auto", network, "fp32", 30).backend == "onnx"
    assert with_backend("auto", network, "fp32", 30).precision == "fp32"
    placed = with_backend("auto", network, "bf16")
    assert (placed.backend, placed.precision) == ("openvino", "bf16")
    monkeypatch.setattr("hybrid_attention.deploy.backends.has_bf16", lambda: False)
    assert with_backend("auto", network, "bf16") is network
    assert with_backend("auto", network, "fp32").backend == "onnx"
    assert with_backend("auto", network, "fp16", images=30) is network
    assert with_backend("auto", network.to("meta"), images=30) is network  # as on a GPU


@pytest.mark.parametrize(("able", "backend", "precision"), [(True, "openvino", "bf16"), (False, "onnx", "fp32")])
def test_the_precision_that_the_processor_computes(able, backend, precision, network, monkeypatch):
    monkeypatch.setattr("hybrid_attention.engines.inferers.computes_bf16", lambda kind: able)
    monkeypatch.setattr("hybrid_attention.deploy.backends.has_bf16", lambda: able)
    placed = with_backend("auto", network)
    assert (placed.backend, placed.precision) == (backend, precision)
    assert with_backend("openvino", network).precision == precision
    assert with_backend("onnx", network).precision == "fp32"


def test_a_copy_is_converted_in_its_own_precision(network):
    with torch.no_grad():
        copied = PrecisionInferer("bf16")(SCAN, with_backend("onnx", network))
        torch.testing.assert_close(copied, network(SCAN), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("missing", [("openvino", "onnxruntime"), ("onnxscript",), ("onnx",)])
def test_auto_where_something_is_missing(missing, network, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name in missing else name)
    assert with_backend("auto", network) is network
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "onnxruntime" else name)
    assert with_backend("auto", network, "fp32").backend == "openvino"


@pytest.mark.parametrize("backend", ["onnx", "openvino"])
def test_converted_at_the_first_batch_with_the_weights_of_then(backend, network, tmp_path):
    placed = with_backend(backend, network, "fp32")
    assert not (tmp_path / "cache").exists()
    with torch.no_grad():
        for weight in network.parameters():
            weight.mul_(1.5)
        expected = network(SCAN)
        torch.testing.assert_close(placed(SCAN), expected, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(placed(SCAN[:1, :, :, :32]), network(SCAN[:1, :, :, :32]), rtol=1e-4, atol=1e-4)
    assert len(list((tmp_path / "cache").glob("*.onnx"))) == 1


def test_what_a_backend_cannot_do(network):
    with pytest.raises(ValueError, match="one of auto, torch, onnx, openvino, got 'tensorrt'"):
        with_backend("tensorrt", network)
    with pytest.raises(ValueError, match="onnx computes in fp32, not in bf16"):
        with_backend("onnx", network, "bf16")
    with pytest.raises(ValueError, match=r"openvino computes on the CPU, but the network is on meta"):
        with_backend("openvino", network.to("meta"))
