import pytest
import torch
from hybrid_attention.engines import DistillationLoss, PrepareDistillation, UnpackMultiTaskd, class_pair
from hybrid_attention.engines.multi_task import DistillationTarget, multi_task_pair, prepare_multi_task_batch
from hybrid_attention.losses import MultiTaskLoss, MultiTaskTarget
from hybrid_attention.networks import MultiTaskOCANet, MultiTaskOutput
from monai.data import decollate_batch
from torch import nn

CLASSES = torch.tensor([2, 0, 1, 1])


def batch():
    torch.manual_seed(0)
    return {"image": torch.rand(4, 2, 16, 16), "label": (torch.rand(4, 1, 16, 16) > 0.5).float()}


def engine_output(net, data):
    """What a MONAI engine holds before post-processing, taken apart case by case; output and label of the batch."""
    image, target = prepare_multi_task_batch(data)
    with torch.no_grad():
        output = net.eval()(image)
    return decollate_batch({"image": image, "label": target, "pred": output}), output, target


def test_unpacked_cases_and_the_whole_batch_again():
    """The loss over the cases put together is the loss of the batch, and the classes are in their order."""
    cases, output, target = engine_output(MultiTaskOCANet(channels=(16, 16)), {**batch(), "class_index": CLASSES})
    assert torch.equal(target.mask, batch()["label"]) and torch.equal(target.class_index, CLASSES)
    unpacked = [UnpackMultiTaskd()(case) for case in cases]
    for number, case in enumerate(unpacked):
        torch.testing.assert_close(case["pred"].sigmoid(), output.mask.softmax(1)[number, 1:])
        assert torch.equal(case["label"], target.mask[number])
        torch.testing.assert_close(case["class_probability"], output.class_logits[number].softmax(0))
        assert torch.equal(case["image"], batch()["image"][number])
    torch.testing.assert_close(MultiTaskLoss()(*multi_task_pair(unpacked)), MultiTaskLoss()(output, target))
    probabilities, classes = class_pair(unpacked)
    assert torch.equal(classes, CLASSES)
    torch.testing.assert_close(probabilities, output.class_logits.softmax(1))
    with pytest.raises(ValueError, match="no class head"):
        UnpackMultiTaskd()({**cases[0], "pred": [*cases[0]["pred"][:2], None]})
    image, moved = prepare_multi_task_batch({**batch(), "class_index": CLASSES}, "meta", non_blocking=True)
    assert {image.device.type, moved.mask.device.type, moved.class_index.device.type} == {"meta"}


class Constant(nn.Module):
    """The same logits at every pixel."""

    def __init__(self, lesion=0.0, classes=(0.0, 0.0, 0.0)):
        super().__init__()
        self.lesion, self.classes = (nn.Parameter(torch.tensor(values)) for values in (lesion, classes))

    def forward(self, x):
        lesion = self.lesion.expand(len(x), 1, *x.shape[2:])
        return MultiTaskOutput(torch.cat([torch.zeros_like(lesion), lesion], 1), None, self.classes.expand(len(x), -1))


def test_the_mean_of_the_teachers_probabilities(tmp_path):
    weights = [tmp_path / "a.pt", tmp_path / "b.pt"]
    for path, values in zip(weights, ((1.0, (2.0, 0.0, 0.0)), (-1.0, (0.0, 0.0, 2.0))), strict=True):
        torch.save(Constant(*values).state_dict(), path)
    options = {"inferer": lambda x, network: network(x), "device": "cpu"}
    prepare = PrepareDistillation(prepare_multi_task_batch, [Constant(), Constant()], weights, **options)
    data = {"image": torch.rand(2, 1, 4, 6), "label": torch.ones(2, 1, 4, 6), "class_index": torch.tensor([0, 2])}
    images, target = prepare(data, "cpu", False)
    assert images.shape == (2, 1, 4, 6) and target.class_index.tolist() == [0, 2]
    torch.testing.assert_close(target.region_probability, torch.full((2, 2, 4, 6), 0.5))
    high, low = torch.tensor([2.0, 0.0, 0.0]).softmax(0)[:2]
    torch.testing.assert_close(target.class_probability[0], torch.stack([(high + low) / 2, low, (high + low) / 2]))
    assert not target.region_probability.requires_grad
    for count in (0, 2):
        with pytest.raises(ValueError, match=f"got {count} for 1"):
            PrepareDistillation(prepare_multi_task_batch, [Constant()], weights[:count], **options)


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
    with pytest.raises(ValueError, match=r"got 1\.5"):
        DistillationLoss(loss, 1.5)
