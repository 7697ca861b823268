"""Networks on other runtimes: in the place of the network, kept on disk, and what happens to bad files."""

import logging
import multiprocessing
import sys

import pytest
import torch
from hybrid_attention.deploy import backends
from hybrid_attention.deploy.backends import default_cache, kept_copy, on_backend
from hybrid_attention.deploy.export import export_onnx
from hybrid_attention.deploy.onnx_runtime import OnnxRuntimeNetwork
from hybrid_attention.deploy.openvino import OpenVINONetwork, has_bf16
from hybrid_attention.networks.blocks.sfeb import SFEB
from monai.data import DataLoader, MetaTensor
from monai.engines import SupervisedEvaluator
from torch import nn

onnx = pytest.importorskip("onnx", reason="the extra `export` is not installed")
pytest.importorskip("openvino", reason="the extra `export` is not installed")
pytest.importorskip("onnxruntime", reason="the extra `export` is not installed")

RUNTIMES = [OnnxRuntimeNetwork, OpenVINONetwork]
EXAMPLE = torch.rand(1, 2, 16, 16, generator=torch.Generator().manual_seed(0))


def small():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), SFEB(2, 4), nn.Conv2d(4, 1, 1)).eval()


@pytest.fixture(scope="module")
def net():
    return small()


@pytest.fixture(scope="module")
def exported(net, tmp_path_factory):
    return export_onnx(net, tmp_path_factory.mktemp("exported") / "network.onnx", EXAMPLE).path


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_equals_eager_and_keeps_what_came_with_the_image(runtime, net, exported):
    found = runtime(exported, threads=1)
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
def test_takes_the_place_of_the_network_in_an_evaluator(runtime, net, exported):
    outputs = {}
    for name, network in (("eager", net), ("exported", runtime(exported))):
        loader = DataLoader([{"image": EXAMPLE[0]}, {"image": 1 - EXAMPLE[0]}], batch_size=2)
        evaluator = SupervisedEvaluator(
            device=torch.device("cpu"), val_data_loader=loader, network=network, decollate=False
        )
        evaluator.run()
        outputs[name] = evaluator.state.output["pred"]
    torch.testing.assert_close(outputs["exported"], outputs["eager"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_unfit_batches_are_refused_in_one_line(runtime, exported):
    found = runtime(exported)
    with pytest.raises(ValueError, match=r"network.onnx takes \(batch, 2, \*spatial\), received \(1, 3, 16, 16\)"):
        found(torch.rand(1, 3, 16, 16))
    with pytest.raises(ValueError, match=r"takes float32 on the CPU, received torch\.float64"):
        found(torch.rand(1, 2, 16, 16, dtype=torch.float64))
    with pytest.raises(ValueError) as refused:
        found(torch.rand(1, 2, 4, 4, 4))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_bad_files(runtime, exported, tmp_path):
    with pytest.raises(FileNotFoundError, match="no exported network at"):
        runtime(tmp_path / "nothing.onnx")
    (tmp_path / "text.onnx").write_text("this is no network\n")
    with pytest.raises(ValueError, match=r"text\.onnx is no readable ONNX model"):
        runtime(tmp_path / "text.onnx")
    (tmp_path / "cut.onnx").write_bytes(exported.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"cut\.onnx is no readable ONNX model"):
        runtime(tmp_path / "cut.onnx")
    foreign = onnx.parser.parse_model(
        '<ir_version: 9, opset_import: ["" : 20]> g (float[b, 2, h, w] x) => (float[b, 2, h, w] y) { y = Relu(x) }'
    )
    onnx.save(foreign, str(tmp_path / "foreign.onnx"))
    with pytest.raises(ValueError, match=r"another model .* takes x and gives y, not image and pred"):
        runtime(tmp_path / "foreign.onnx")


def test_precisions_of_openvino(net, exported, monkeypatch):
    with pytest.raises(ValueError, match="precision must be one of fp32, bf16, got 'fp16'"):
        OpenVINONetwork(exported, precision="fp16")
    if has_bf16():
        with torch.no_grad():
            difference = (OpenVINONetwork(exported, precision="bf16")(EXAMPLE) - net(EXAMPLE)).abs().max()
        assert 0 < difference < 0.05  # other arithmetic, but not by much
    monkeypatch.setattr("hybrid_attention.deploy.openvino.has_bf16", lambda: False)
    with pytest.raises(ValueError, match="does not compute in bf16"):
        OpenVINONetwork(exported, precision="bf16")


@pytest.mark.skipif(not has_bf16(), reason="the processor has no bf16")
def test_openvino_takes_the_file_for_one_size_alone_in_bf16(exported):
    import openvino

    core = openvino.Core()
    model = core.read_model(str(exported))
    model.reshape([1, 2, 16, 16])  # local means written as a quotient of two poolings fail here
    core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "bf16"})


def test_converted_once(net, tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(backends, "export_onnx", lambda *words: (calls.append(1), export_onnx(*words)))
    for backend in ("openvino", "onnx", "openvino"):
        found = on_backend(net, backend, EXAMPLE, tmp_path, threads=1)
        assert not found.training
        torch.testing.assert_close(found(EXAMPLE), net(EXAMPLE).detach(), rtol=1e-4, atol=1e-5)
    assert calls == [1]
    assert [path.name for path in tmp_path.iterdir()] == [kept_copy(net, tmp_path).name]
    other = small()
    with torch.no_grad():
        other[0].bias[0] += 1
    torch.testing.assert_close(on_backend(other, "onnx", EXAMPLE, tmp_path)(EXAMPLE), other(EXAMPLE).detach())
    assert calls == [1, 1]


def test_torch_is_the_network_itself(net, tmp_path):
    assert on_backend(net, "torch", EXAMPLE, tmp_path) is net
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match="backend must be one of torch, openvino, onnx, got 'tensorrt'"):
        on_backend(net, "tensorrt", EXAMPLE, tmp_path)


@pytest.mark.parametrize("backend", ["onnx", "openvino"])
def test_damaged_copy_is_made_anew(backend, net, tmp_path, caplog):
    path = kept_copy(net, tmp_path)
    path.write_bytes(b"half a file")
    with caplog.at_level(logging.WARNING):
        found = on_backend(net, backend, EXAMPLE, tmp_path)
    assert "converting anew" in caplog.text
    torch.testing.assert_close(found(EXAMPLE), net(EXAMPLE).detach(), rtol=1e-4, atol=1e-5)
    onnx.checker.check_model(onnx.load(str(path)))


def test_unusable_folder_is_said_and_done_without(net, tmp_path, caplog):
    (tmp_path / "file").write_text("")
    with caplog.at_level(logging.WARNING):
        found = on_backend(net, "onnx", EXAMPLE, tmp_path / "file" / "cache")
    assert "can't be kept in" in caplog.text
    assert "HYBRID_ATTENTION_CACHE" in caplog.text
    torch.testing.assert_close(found(EXAMPLE), net(EXAMPLE).detach(), rtol=1e-4, atol=1e-5)


def _convert(folder, results):
    torch.set_num_threads(1)
    results.put(on_backend(small(), "onnx", EXAMPLE, folder, threads=1)(EXAMPLE).sum().item())


@pytest.mark.slow
def test_two_processes_at_once(tmp_path, net):
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    processes = [context.Process(target=_convert, args=(tmp_path, results)) for _ in range(2)]
    for process in processes:
        process.start()
    sums = [results.get(timeout=120) for _ in processes]
    for process in processes:
        process.join()
    assert sums == pytest.approx([net(EXAMPLE).sum().item()] * 2, rel=1e-4)
    assert [path.name for path in tmp_path.iterdir()] == [kept_copy(net, tmp_path).name]


def test_default_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("HYBRID_ATTENTION_CACHE", str(tmp_path))
    assert default_cache() == tmp_path
    monkeypatch.delenv("HYBRID_ATTENTION_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert default_cache() == tmp_path / "cache" / "hybrid_attention"


@pytest.mark.parametrize(("backend", "package"), [("onnx", "onnxruntime"), ("openvino", "openvino")])
def test_missing_package_is_named(backend, package, net, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=rf"package {package}: pip install '\.\[export\]'"):
        on_backend(net, backend, EXAMPLE, tmp_path)
