import pytest
import torch
from hybrid_attention.networks import MaskAndClasses, MTLDUNet
from hybrid_attention.transforms import SplitMaskAndClassesd


def test_channels_go_their_ways():
    logits = torch.stack([torch.tensor([[1.0, -1.0]]), torch.zeros(1, 2), torch.full((1, 2), torch.tensor(3.0).log())])
    data = {"pred": logits, "other": 1}
    result = SplitMaskAndClassesd("pred")(data)
    assert result["pred"].tolist() == [[[1.0, -1.0]]]
    torch.testing.assert_close(result["class_probability"], torch.tensor([0.25, 0.75]))
    assert result["other"] == 1 and data["pred"] is logits


def test_takes_apart_what_the_network_put_together():
    torch.manual_seed(0)
    net = MTLDUNet(channels=(8, 8), num_classes=4).eval()
    image = torch.rand(1, 2, 17, 24)
    with torch.no_grad():
        expected, one = net(image), MaskAndClasses(net)(image)
    result = SplitMaskAndClassesd("pred", class_key="kind")({"pred": one[0]})
    torch.testing.assert_close(result["pred"].sigmoid(), expected.mask.softmax(1)[0, 1:])
    torch.testing.assert_close(result["kind"], expected.class_logits.softmax(1)[0])


def test_network_without_classes():
    with pytest.raises(ValueError, match=r"two classes or more, got shape \(1, 4, 4\): does the network classify"):
        SplitMaskAndClassesd("pred")({"pred": torch.zeros(1, 4, 4)})
