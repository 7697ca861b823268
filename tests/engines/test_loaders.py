import pytest
import torch
from hybrid_attention.engines import AugmentBatch, prepare_multi_task_batch, training_loader
from ignite.engine import Engine
from monai.data import Dataset

kornia = pytest.importorskip("kornia.augmentation")


@pytest.fixture
def data():
    torch.manual_seed(0)
    label = torch.zeros(4, 1, 16, 24)
    label[:, :, 2:6, 3:9] = 1
    return {"image": torch.rand(4, 1, 16, 24).repeat(1, 3, 1, 1), "label": label, "class_index": torch.arange(4)}


def test_without_augmentation_the_batch_is_only_prepared(data):
    image, label = AugmentBatch()(data, "cpu")
    assert torch.equal(image, data["image"]) and torch.equal(label, data["label"])
    image, target = AugmentBatch(prepare_batch=prepare_multi_task_batch)(data)
    assert torch.equal(image, data["image"]) and target.class_index.tolist() == [0, 1, 2, 3]
    data["image"][:, 1] = 0
    with pytest.raises(ValueError, match="the 3 channels of the images differ"):
        AugmentBatch()(data, "cpu")


def test_image_and_mask_are_augmented_alike_and_grey_values_stay_in_range(data):
    augment = AugmentBatch([kornia.RandomHorizontalFlip(p=1.0)], [lambda image: image - 0.5])
    image, label = augment(data, "cpu")
    assert torch.equal(image, (data["image"] - 0.5).clamp(0, 1).flip(3))  # left and right
    assert torch.equal(label, data["label"].flip(3))


def test_masks_stay_masks_and_images_draw_their_own_parameters(data):
    data["image"] = data["image"][:1].repeat(4, 1, 1, 1)
    augment = AugmentBatch(geometric=[kornia.RandomAffine(degrees=40.0, p=1.0)])
    (image, label), same, other = ((torch.manual_seed(seed), augment(data, "cpu"))[1] for seed in (1, 1, 2))
    assert set(label.unique().tolist()) == {0.0, 1.0}
    assert not torch.equal(image[0], image[1])
    assert torch.equal(image, same[0]) and not torch.equal(image, other[0])


def test_progressive_sizes(data):
    augment = AugmentBatch(sizes={2: 8, 4: 12})
    seen = []
    engine = Engine(lambda engine, batch: seen.append([tuple(part.shape[2:]) for part in augment(batch)]))
    augment.attach(engine)
    engine.run([data], max_epochs=4)
    assert seen == [[size, size] for size in ((16, 24), (8, 8), (8, 8), (12, 12))]


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
