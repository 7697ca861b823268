import pytest
import torch
from hybrid_attention.engines import (
    DistillationLoss,
    PrecisionInferer,
    PrepareDistillation,
    UnpackMultiTaskd,
    class_pair,
    multi_task_pair,
    prepare_multi_task_batch,
)
from hybrid_attention.engines.multi_task import DistillationTarget
from hybrid_attention.losses import MultiTaskLoss, MultiTaskTarget
from hybrid_attention.networks import MultiTaskOCANet, MultiTaskOutput, MultiTaskUNet
from monai.data import decollate_batch
from torch import nn


def batch(classes=True):
    torch.manual_seed(0)
    made = {"image": torch.rand(4, 2, 16, 16), "label": (torch.rand(4, 1, 16, 16) > 0.5).float()}
    return {**made, "class_index": torch.tensor([2, 0, 1, 1])} if classes else made


def network(kind="oca"):
    torch.manual_seed(1)
    if kind == "oca":
        return MultiTaskOCANet(channels=(16, 16)).eval()
    return MultiTaskUNet(channels=(8, 8), num_classes=None).eval()


def engine_output(net, data):
    """What a MONAI engine holds before post-processing: output and label, taken apart case by case."""
    image, target = prepare_multi_task_batch(data)
    with torch.no_grad():
        return decollate_batch({"image": image, "label": target, "pred": net(image)}), net(image), target


def test_batch_of_masks_and_classes():
    data = batch()
    image, target = prepare_multi_task_batch(data, torch.device("cpu"), non_blocking=True)
    assert isinstance(target, MultiTaskTarget)
    assert torch.equal(image, data["image"]) and torch.equal(target.mask, data["label"])
    assert torch.equal(target.class_index, data["class_index"])
    image, target = prepare_multi_task_batch(data, "meta")
    assert {image.device.type, target.mask.device.type, target.class_index.device.type} == {"meta"}


def test_unpacked_case():
    cases, output, target = engine_output(network(), batch())
    case = UnpackMultiTaskd()(cases[1])
    probability = output.mask.softmax(1)[1, 1:]
    torch.testing.assert_close(case["pred"].sigmoid(), probability)
    assert torch.equal(case["label"], target.mask[1])
    torch.testing.assert_close(case["class_probability"], output.class_logits[1].softmax(0))
    assert torch.equal(case["image"], batch()["image"][1])


def test_metrics_see_the_whole_batch_again():
    """The loss over the cases put together is the loss of the batch, and the classes are in their order."""
    cases, output, target = engine_output(network(), batch())
    unpacked = [UnpackMultiTaskd()(case) for case in cases]
    again, truth = multi_task_pair(unpacked)
    assert isinstance(again, MultiTaskOutput) and isinstance(truth, MultiTaskTarget)
    torch.testing.assert_close(MultiTaskLoss()(again, truth), MultiTaskLoss()(output, target))
    probabilities, classes = class_pair(unpacked)
    assert classes.tolist() == [2, 0, 1, 1]
    torch.testing.assert_close(probabilities, output.class_logits.softmax(1))


def test_network_without_classes():
    cases, output, target = engine_output(network("unet"), batch(classes=False))
    unpacked = [UnpackMultiTaskd(classes=False)(case) for case in cases]
    assert "class_probability" not in unpacked[0]
    again, truth = multi_task_pair(unpacked)
    assert again.coarse_mask is None and again.class_logits is None and truth.class_index is None
    loss = MultiTaskLoss(classification_weight=0)
    torch.testing.assert_close(loss(again, truth), loss(output, target))


def test_network_without_classes_that_is_asked_for_them():
    cases, _, _ = engine_output(network("unet"), batch())
    with pytest.raises(ValueError, match="no class head"):
        UnpackMultiTaskd()(cases[0])


@pytest.mark.parametrize("kind", ["oca", "unet"])
def test_every_head_comes_in_float32(kind):
    net, image = network(kind), batch()["image"]
    output = PrecisionInferer("bf16", channels_last=True)(image, net)
    assert isinstance(output, MultiTaskOutput)
    assert {field.dtype for field in output if field is not None} == {torch.float32}
    with torch.no_grad():
        expected = net(image)
    assert [field is None for field in output] == [field is None for field in expected]
    torch.testing.assert_close(output.mask, expected.mask, rtol=0.1, atol=0.1)
    assert not torch.equal(output.mask, expected.mask)  # computed in bf16


# ---- distillation


class Constant(nn.Module):
    """The same logits at every pixel."""

    def __init__(self, lesion=0.0, classes=(0.0, 0.0, 0.0)):
        super().__init__()
        self.lesion, self.classes = (nn.Parameter(torch.tensor(values)) for values in (lesion, classes))

    def forward(self, x):
        lesion = self.lesion.expand(len(x), 1, *x.shape[2:])
        return MultiTaskOutput(torch.cat([torch.zeros_like(lesion), lesion], 1), None, self.classes.expand(len(x), -1))


@pytest.fixture
def weights(tmp_path):
    paths = []
    for name, teacher in (("a", Constant(1.0, (2.0, 0.0, 0.0))), ("b", Constant(-1.0, (0.0, 0.0, 2.0)))):
        torch.save(teacher.state_dict(), tmp_path / f"{name}.pt")
        paths.append(tmp_path / f"{name}.pt")
    return paths


def small_batch():
    return {"image": torch.rand(2, 1, 4, 6), "label": torch.ones(2, 1, 4, 6), "class_index": torch.tensor([0, 2])}


def test_the_mean_of_the_teachers_probabilities(weights):
    prepare = PrepareDistillation(
        prepare_multi_task_batch, [Constant(), Constant()], weights, lambda x, network: network(x), "cpu"
    )
    images, target = prepare(small_batch(), "cpu", False)
    assert images.shape == (2, 1, 4, 6) and target.class_index.tolist() == [0, 2]
    torch.testing.assert_close(target.region_probability, torch.full((2, 2, 4, 6), 0.5))
    high, low = torch.tensor([2.0, 0.0, 0.0]).softmax(0)[:2]
    torch.testing.assert_close(target.class_probability[0], torch.stack([(high + low) / 2, low, (high + low) / 2]))
    assert not target.region_probability.requires_grad


def test_the_share_of_the_teachers():
    loss = MultiTaskLoss(coarse_weight=0.0, classification_weight=0.5)
    output = Constant(2.0, (1.0, 0.0, 0.0))(torch.zeros(2, 1, 4, 6))
    regions, classes = torch.tensor([0.25, 0.75]), torch.tensor([0.5, 0.3, 0.2])
    target = DistillationTarget(
        torch.ones(2, 1, 4, 6), torch.tensor([0, 1]), regions.view(1, 2, 1, 1).expand(2, 2, 4, 6), classes.expand(2, 3)
    )
    labels = loss(output, MultiTaskTarget(target.mask, target.class_index))
    taught = -(regions * torch.tensor([0.0, 2.0]).log_softmax(0)).sum()
    taught -= 0.5 * (classes * torch.tensor([1.0, 0.0, 0.0]).log_softmax(0)).sum()
    for weight, expected in ((0.0, labels), (1.0, taught), (0.25, 0.75 * labels + 0.25 * taught)):
        torch.testing.assert_close(DistillationLoss(loss, weight)(output, target), expected)


@pytest.mark.parametrize("count", [0, 2])
def test_one_weight_file_per_teacher(weights, count):
    with pytest.raises(ValueError, match=f"got {count} for 1"):
        PrepareDistillation(prepare_multi_task_batch, [Constant()], weights[:count], None, "cpu")
    with pytest.raises(ValueError, match=r"got 1\.5"):
        DistillationLoss(MultiTaskLoss(), 1.5)
