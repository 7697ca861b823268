"""What a training over a MONAI Label server needs beside its recipe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def check_labelled_cases(
    training: Sequence[Mapping[str, Any]],
    validation: Sequence[Mapping[str, Any]],
    class_names: Sequence[str] | None = None,
) -> None:
    """Refuse a training that could learn nothing or keep nothing of it, which MONAI would report as done.

    A MONAI Label server trains on what is labelled in its datastore, images and masks alone, and splits it by itself.

    Args:
        training: the cases to learn from.
        validation: the cases that decide which epoch is kept.
        class_names: what the network shall tell apart; None for masks alone.

    Raises:
        ValueError: fewer than two cases to learn from, none to validate on, or cases without a class.
    """
    if len(training) < 2 or not validation:
        raise ValueError(
            f"{len(training)} images to train on and {len(validation)} to validate on are too few: at least two and "
            "one are needed (on a MONAI Label server three labelled images, with its val_split of 0.2)"
        )
    unknown = [case for case in (*training, *validation) if "class_index" not in case]
    if class_names is not None and unknown:
        raise ValueError(
            f"{len(unknown)} images come without a class (the first: {unknown[0].get('image')}), but the network shall "
            f"tell apart {', '.join(class_names)}. A MONAI Label server passes masks alone: to train on these, set "
            "class_names to null in train.yaml and inference.yaml of the bundle, which then gives masks without classes"
        )
