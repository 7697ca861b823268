import pytest
import torch
from hybrid_attention.engines import DistillationLoss, PrepareDistillation, prepare_multi_task_batch
from hybrid_attention.engines.distillation import DistillationTarget
from hybrid_attention.losses import MultiTaskLoss, MultiTaskTarget
from hybrid_attention.networks import MultiTaskOutput
from torch import nn


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


def batch():
    return {"image": torch.rand(2, 1, 4, 6), "label": torch.ones(2, 1, 4, 6), "class_index": torch.tensor([0, 2])}


def test_the_mean_of_the_teachers_probabilities(weights):
    prepare = PrepareDistillation(
        prepare_multi_task_batch, [Constant(), Constant()], weights, lambda x, network: network(x), "cpu"
    )
    images, target = prepare(batch(), "cpu", False)
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
