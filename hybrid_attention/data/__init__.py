"""From folders of images to lists of cases and leak-free splits."""

from hybrid_attention.data.checks import DataError, OnDemand, check_training_cases, with_class_index
from hybrid_attention.data.datasets import (
    breast_datalist,
    bus_bra_datalist,
    bus_uclm_datalist,
    busi_datalist,
    datalist,
    folder_datalist,
    udiat_datalist,
)
from hybrid_attention.data.folder import image_datalist
from hybrid_attention.data.masks import MaskReader
from hybrid_attention.data.reading import GreyReader
from hybrid_attention.data.splits import Split, busi_facts, split_cases

__all__ = [
    "DataError",
    "GreyReader",
    "MaskReader",
    "OnDemand",
    "Split",
    "breast_datalist",
    "bus_bra_datalist",
    "bus_uclm_datalist",
    "busi_datalist",
    "busi_facts",
    "check_training_cases",
    "datalist",
    "folder_datalist",
    "image_datalist",
    "split_cases",
    "udiat_datalist",
    "with_class_index",
]
