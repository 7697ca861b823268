import pytest
from hybrid_attention.data import check_training_cases

CASE = {"image": "a.png", "label": "labels/final/a.png"}


def test_three_labelled_images_are_enough():
    check_training_cases([CASE, CASE], [CASE])


@pytest.mark.parametrize(("training", "validation"), [(0, 0), (1, 0), (2, 0), (1, 1)])
def test_too_few_are_refused(training, validation):
    with pytest.raises(ValueError, match=f"{training} images to train on and {validation} to validate on are too few"):
        check_training_cases([CASE] * training, [CASE] * validation)


def test_a_classifier_needs_classes():
    known = {**CASE, "class_index": 0}
    check_training_cases([known, known], [known], ["benign", "malignant"])
    with pytest.raises(ValueError, match=r"2 images come without a class \(the first: a.png\).*class_names to null"):
        check_training_cases([CASE, known], [CASE], ["benign", "malignant"])
