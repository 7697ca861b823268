"""Taking the one tensor of a network that segments and classifies apart."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform


class SplitMaskAndClassesd(MapTransform):
    """Split logits of the lesion and of the classes, as `MaskAndClasses` gives them, for one image.

    The key keeps the logit of the lesion, (1, *spatial); the softmax over the classes goes to `class_key`, (classes,).

    Args:
        keys: keys of the logits, (1 + classes, *spatial), a class's logit the same at every pixel.
        class_key: where the class probabilities go.

    Raises:
        ValueError: (at the call) there are not two classes or more.
    """

    def __init__(self, keys: KeysCollection, class_key: str = "class_probability") -> None:
        super().__init__(keys)
        self.class_key = class_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return `data` with mask and classes apart."""
        result = dict(data)
        for key in self.key_iterator(result):
            logits = result[key]
            if logits.shape[0] < 3:
                raise ValueError(
                    f"expected the logits of a lesion and of two classes or more, got shape {tuple(logits.shape)}: "
                    "does the network classify?"
                )
            classes = torch.as_tensor(logits[1:]).flatten(1)[:, 0]
            result[key], result[self.class_key] = logits[:1], classes.softmax(0)
        return result
