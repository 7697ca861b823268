import pytest
import torch
from hybrid_attention.engines import AugmentBatch, training_loader
from monai.data import Dataset
from torch import nn

kornia = pytest.importorskip("kornia.augmentation")


def batch(size=4, channels=3):
    torch.manual_seed(0)
    grey = torch.rand(size, 1, 16, 24)
    label = torch.zeros(size, 1, 16, 24)
    label[:, :, 2:6, 3:9] = 1
    return {"image": grey.repeat(1, channels, 1, 1), "label": label}


class Darker(nn.Module):
    def forward(self, x):
        return x - 0.5


def test_without_augmentation_nothing_changes():
    data = batch()
    image, label = AugmentBatch()(data, "cpu")
    assert torch.equal(image, data["image"])
    assert torch.equal(label, data["label"])


def test_a_flip_moves_image_and_mask_alike():
    data = batch()
    image, label = AugmentBatch(geometric=[kornia.RandomHorizontalFlip(p=1.0)])(data, "cpu")
    assert torch.equal(image, data["image"].flip(3))  # left and right
    assert torch.equal(label, data["label"].flip(3))


def test_masks_stay_masks_and_images_draw_their_own_parameters():
    data = batch()
    data["image"] = data["image"][:1].repeat(4, 1, 1, 1)
    augment = AugmentBatch(geometric=[kornia.RandomAffine(degrees=40.0, p=1.0)])
    (image, label), same, other = ((torch.manual_seed(seed), augment(data, "cpu"))[1] for seed in (1, 1, 2))
    assert set(label.unique().tolist()) == {0.0, 1.0}
    assert not torch.equal(image[0], image[1])
    assert torch.equal(image, same[0]) and not torch.equal(image, other[0])


def test_grey_values_change_alike_in_all_channels_and_stay_in_range():
    data = batch()
    image, label = AugmentBatch(intensity=[Darker()])(data, "cpu")
    expected = (data["image"] - 0.5).clamp(0, 1)
    assert torch.equal(image, expected)
    assert torch.equal(label, data["label"])


def test_channels_that_differ_are_refused():
    data = batch()
    data["image"][:, 1] = 0
    with pytest.raises(ValueError, match="the 3 channels of the images differ"):
        AugmentBatch()(data, "cpu")


def test_progressive_sizes():
    from ignite.engine import Engine

    augment = AugmentBatch(sizes={1: 16, 3: 24})
    seen = []
    engine = Engine(lambda engine, batch: seen.append(tuple(augment(batch)[0].shape[2:])))
    augment.attach(engine)
    batch = {"image": torch.rand(2, 1, 32, 32), "label": torch.ones(2, 1, 32, 32)}
    engine.run([batch], max_epochs=4)
    assert seen == [(16, 16), (16, 16), (24, 24), (24, 24)]


def test_the_batch_is_prepared_as_asked():
    from hybrid_attention.engines import prepare_multi_task_batch

    batch = {"image": torch.rand(2, 1, 8, 8), "label": torch.ones(2, 1, 8, 8), "class_index": torch.tensor([2, 0])}
    image, target = AugmentBatch(prepare_batch=prepare_multi_task_batch)(batch)
    assert torch.equal(image, batch["image"])
    assert target.class_index.tolist() == [2, 0]


def drawn(loader, epochs):
    names = []
    for epoch in range(epochs):
        torch.manual_seed(epoch)
        loader.sampler.set_epoch(epoch)
        names += [name for batch in loader for name in batch["class"]]
    return names


def test_balanced_classes():
    cases = [{"class": name, "value": 0.0} for name in ["benign"] * 20 + ["malignant"] * 8 + ["normal"] * 2]
    loader = training_loader(Dataset(cases), batch_size=5, balance_classes=True)
    names = drawn(loader, epochs=40)
    assert len(names) == 40 * 30
    assert all(abs(names.count(name) / len(names) - 1 / 3) < 0.05 for name in ("benign", "malignant", "normal"))
    assert drawn(loader, epochs=2) == names[:60]
    plain = training_loader(Dataset(cases), batch_size=5)
    assert sorted(drawn(plain, epochs=1)) == sorted(case["class"] for case in cases)


@pytest.mark.parametrize(("images", "batches"), [(5, [4]), (6, [4, 2]), (8, [4, 4])])
def test_a_last_batch_of_one_is_left_out(images, batches):
    loader = training_loader(Dataset([{"class": "benign", "value": 0.0}] * images), batch_size=4)
    assert [len(batch["value"]) for batch in loader] == batches
