"""Data sets, readers, splits and checks, imported on first use: those for prediction need neither torch nor MONAI."""

import importlib
from typing import Any

_MODULES = {
    "DataError": "cases",
    "GreyImage": "images",
    "GreyReader": "readers",
    "MaskReader": "readers",
    "OnDemand": "cases",
    "Split": "splits",
    "breast_datalist": "published",
    "bus_bra_datalist": "published",
    "bus_uclm_datalist": "published",
    "busi_datalist": "datasets",
    "busi_facts": "splits",
    "check_training_cases": "cases",
    "datalist": "datasets",
    "folder_datalist": "datasets",
    "image_datalist": "folders",
    "read_image": "images",
    "split_cases": "splits",
    "udiat_datalist": "published",
    "with_class_index": "cases",
}

__all__ = list(_MODULES)


def __getattr__(name: str) -> Any:
    """Import a name's module on first use."""
    if name in _MODULES:
        return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
