import pytest
import torch
from hybrid_attention import cli
from hybrid_attention.deploy import run_on
from hybrid_attention.deploy.backends import CHOICES
from hybrid_attention.engines import PrecisionInferer
from hybrid_attention.networks.baselines import residual_unet

X = torch.rand(2, 3, 32, 48, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def network(tmp_path, monkeypatch):
    monkeypatch.setenv("HYBRID_ATTENTION_CACHE", str(tmp_path / "cache"))
    torch.manual_seed(0)
    return residual_unet(channels=(4, 8, 16)).eval()


def test_the_command_line_offers_all_of_them():
    assert set(cli.BACKENDS) == set(CHOICES)


def test_torch_is_the_network_itself(network):
    assert run_on("torch", network) is network
    assert run_on("torch", network, "fp16") is network


def test_auto_converts_where_it_pays(network, monkeypatch):
    pytest.importorskip("openvino", reason="the extra `export` is not installed")
    monkeypatch.setattr("hybrid_attention.deploy.backends.has_bf16", lambda: True)
    assert run_on("auto", network, images=29) is network
    assert run_on("auto", network, "fp32", 30).backend == "onnx"
    assert run_on("auto", network, "fp32", 30).precision == "fp32"
    placed = run_on("auto", network, "bf16")
    assert (placed.backend, placed.precision) == ("openvino", "bf16")
    monkeypatch.setattr("hybrid_attention.deploy.backends.has_bf16", lambda: False)
    assert run_on("auto", network, "bf16") is network
    assert run_on("auto", network, "fp32").backend == "onnx"
    assert run_on("auto", network, "fp16", images=30) is network
    assert run_on("auto", network.to("meta"), images=30) is network  # as on a GPU


@pytest.mark.parametrize(("able", "backend", "precision"), [(True, "openvino", "bf16"), (False, "onnx", "fp32")])
def test_the_precision_that_the_processor_computes(able, backend, precision, network, monkeypatch):
    pytest.importorskip("openvino", reason="the extra `export` is not installed")
    monkeypatch.setattr("hybrid_attention.engines.inferer.computes_bf16", lambda kind: able)
    monkeypatch.setattr("hybrid_attention.deploy.backends.has_bf16", lambda: able)
    placed = run_on("auto", network)
    assert (placed.backend, placed.precision) == (backend, precision)
    assert run_on("openvino", network).precision == precision
    assert run_on("onnx", network).precision == "fp32"


def test_a_copy_is_converted_in_its_own_precision(network):
    pytest.importorskip("onnxruntime", reason="the extra `export` is not installed")
    with torch.no_grad():
        copied = PrecisionInferer("bf16")(X, run_on("onnx", network))
        torch.testing.assert_close(copied, network(X), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("missing", [("openvino", "onnxruntime"), ("onnxscript",), ("onnx",)])
def test_auto_where_something_is_missing(missing, network, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name in missing else name)
    assert run_on("auto", network) is network
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "onnxruntime" else name)
    assert run_on("auto", network, "fp32").backend == "openvino"


@pytest.mark.parametrize(("backend", "package"), [("onnx", "onnxruntime"), ("openvino", "openvino")])
def test_converted_at_the_first_batch_with_the_weights_of_then(backend, package, network, tmp_path):
    pytest.importorskip(package, reason="the extra `export` is not installed")
    placed = run_on(backend, network, "fp32")
    assert not (tmp_path / "cache").exists()
    with torch.no_grad():
        for weight in network.parameters():
            weight.mul_(1.5)
        expected = network(X)
        torch.testing.assert_close(placed(X), expected, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(placed(X[:1, :, :, :32]), network(X[:1, :, :, :32]), rtol=1e-4, atol=1e-4)
    assert len(list((tmp_path / "cache").glob("*.onnx"))) == 1


def test_what_a_backend_can_not_do(network):
    with pytest.raises(ValueError, match="one of auto, torch, openvino, onnx, got 'tensorrt'"):
        run_on("tensorrt", network)
    with pytest.raises(ValueError, match="onnx computes in fp32, not in bf16"):
        run_on("onnx", network, "bf16")
    with pytest.raises(ValueError, match=r"openvino computes on the CPU, but the network is on meta: add --device cpu"):
        run_on("openvino", network.to("meta"))
