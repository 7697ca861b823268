"""Data sets, readers, splits and checks, imported on first use: those for prediction need neither torch nor MONAI."""

import importlib
from typing import Any

_MODULES = {
    "DataError": "checks",
    "GreyImage": "images",
    "GreyReader": "readers",
    "MaskReader": "readers",
    "OnDemand": "checks",
    "Split": "splits",
    "breast_datalist": "datasets",
    "bus_bra_datalist": "datasets",
    "bus_uclm_datalist": "datasets",
    "busi_datalist": "datasets",
    "busi_facts": "splits",
    "check_training_cases": "checks",
    "datalist": "datasets",
    "folder_datalist": "datasets",
    "image_datalist": "listing",
    "read_image": "images",
    "split_cases": "splits",
    "udiat_datalist": "datasets",
    "with_class_index": "checks",
}

__all__ = list(_MODULES)


def __getattr__(name: str) -> Any:
    """Import a name's module on first use."""
    if name in _MODULES:
        return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
