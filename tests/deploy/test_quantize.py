"""int8: which operators become integers, how near the numbers stay, and what is refused."""

import pytest
import torch
from hybrid_attention.deploy.export import export_onnx
from hybrid_attention.deploy.onnx_networks import ExportedNetwork
from hybrid_attention.deploy.quantize import quantize
from hybrid_attention.networks.blocks.attention import NonLocal
from torch import nn

onnx = pytest.importorskip("onnx", reason="the extra `export` is not installed")
pytest.importorskip("onnxruntime", reason="the extra `export` is not installed")

IMAGES = torch.rand(8, 1, 16, 16, generator=torch.Generator().manual_seed(0))


class Attended(nn.Module):
    """Convolutions A to E; B comes before attention, its own follow, D after it."""

    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(1, 4, 3, padding=1)
        self.b = nn.Conv2d(4, 4, 3, padding=1)
        self.attention = NonLocal(2, 4)
        self.d = nn.Conv2d(4, 4, 3, padding=1)
        self.e = nn.Conv2d(4, 1, 1)

    def forward(self, x):
        return self.e(self.d(self.attention(self.b(self.a(x).relu()).relu())).relu())


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    torch.manual_seed(0)
    return export_onnx(Attended().eval(), tmp_path_factory.mktemp("exported") / "network.onnx", IMAGES[:1]).path


@pytest.fixture(scope="module")
def quantized(exported, tmp_path_factory):
    return quantize(exported, tmp_path_factory.mktemp("quantized") / "network.onnx", IMAGES)


def in_int8(path):
    """Return the names of the convolutions whose input comes from 8 bits."""
    nodes = onnx.load(str(path)).graph.node
    from_8_bits = {name for node in nodes if node.op_type == "DequantizeLinear" for name in node.output}
    return {node.name.split("/")[1] for node in nodes if node.op_type == "Conv" and set(node.input[:2]) <= from_8_bits}


def test_convolutions_become_integers_but_those_around_attention(exported, quantized):
    assert in_int8(exported) == set()
    assert in_int8(quantized) == {"a", "d", "e"}  # b feeds the embeddings
    whole = ExportedNetwork(exported)
    for coarse in (ExportedNetwork(quantized, runtime) for runtime in ("onnx", "openvino")):
        for shape in ((1, 1, 16, 16), (2, 1, 13, 21)):
            batch = torch.rand(shape)
            expected, found = whole(batch), coarse(batch)
            assert 0 < (found - expected).abs().max() < 0.1 * (expected.max() - expected.min())
    source, made = ({one.key: one.value for one in onnx.load(path).metadata_props} for path in (exported, quantized))
    assert made["weights_sha256"] == source["weights_sha256"]
    assert made["quantized"] == "int8 convolutions, calibrated on 8 images, percentile 99.99"


def test_refusals(exported, tmp_path):
    with pytest.raises(ValueError, match="at least 8 images, got 7"):
        quantize(exported, tmp_path / "network.onnx", IMAGES[:7])
    with pytest.raises(ValueError, match=r"network.onnx can't be computed for a batch of \(1, 3,"):
        quantize(exported, tmp_path / "network.onnx", IMAGES.expand(-1, 3, -1, -1))
    assert not list(tmp_path.iterdir())
