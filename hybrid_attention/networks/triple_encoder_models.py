"""The twenty models that the paper of the triple-encoder U-Net compares, by their number."""

from __future__ import annotations

from typing import NamedTuple

_ALL = ("resnet18", "densenet121", "efficientnet-b0")
_DENSE_EFFICIENT = ("densenet121", "efficientnet-b0")
_RES_EFFICIENT = ("resnet18", "efficientnet-b0")
_RES_DENSE = ("resnet18", "densenet121")


class TripleEncoderModel(NamedTuple):
    """A row of the paper's table 1.

    Args:
        attention: "cbam", "non_local" or None.
        encoders: names as `TripleEncoderUNet` takes them.
        freeze_encoders: whether only the decoder learns.
        loss: "bce" or "dice".
    """

    attention: str | None
    encoders: tuple[str, ...]
    freeze_encoders: bool
    loss: str


MODELS = {
    1: TripleEncoderModel("cbam", _ALL, False, "bce"),
    2: TripleEncoderModel("cbam", _ALL, False, "dice"),
    3: TripleEncoderModel("non_local", _ALL, False, "bce"),
    4: TripleEncoderModel("non_local", _ALL, False, "dice"),
    5: TripleEncoderModel(None, _ALL, True, "dice"),
    6: TripleEncoderModel(None, _ALL, True, "bce"),
    7: TripleEncoderModel(None, _ALL, False, "bce"),
    8: TripleEncoderModel(None, _ALL, False, "dice"),
    9: TripleEncoderModel("non_local", _ALL, True, "dice"),
    10: TripleEncoderModel("cbam", _ALL, True, "dice"),
    11: TripleEncoderModel("non_local", _ALL, True, "bce"),
    12: TripleEncoderModel("cbam", _ALL, True, "bce"),
    13: TripleEncoderModel(None, _DENSE_EFFICIENT, True, "dice"),
    14: TripleEncoderModel(None, _DENSE_EFFICIENT, True, "bce"),
    15: TripleEncoderModel(None, _RES_EFFICIENT, True, "bce"),
    16: TripleEncoderModel(None, _RES_EFFICIENT, True, "dice"),
    17: TripleEncoderModel(None, _RES_DENSE, True, "bce"),
    18: TripleEncoderModel(None, _RES_DENSE, True, "dice"),
    19: TripleEncoderModel(None, _DENSE_EFFICIENT, False, "bce"),
    20: TripleEncoderModel(None, _DENSE_EFFICIENT, False, "dice"),
}


def triple_encoder_model(number: int) -> TripleEncoderModel:
    """Return what makes one of the paper's models.

    Reference:
        S. Anari, S. Sadeghi, G. Sheikhi, R. Ranjbarzadeh, M. Bendechache, "Explainable attention based breast tumor
        segmentation using a combination of UNet, ResNet, DenseNet, and EfficientNet models", Scientific Reports 15,
        1027 (2025), doi:10.1038/s41598-024-84504-y, table 1.

    Args:
        number: from 1 to 20.

    Raises:
        ValueError: no model of that number.
    """
    if number not in MODELS:
        raise ValueError(f"model must be a number from 1 to {len(MODELS)}, as in the paper's table 1, got {number!r}")
    return MODELS[number]
