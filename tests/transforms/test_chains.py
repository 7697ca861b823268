import pytest
from hybrid_attention.transforms import NamingCompose
from monai.data import DataLoader, Dataset
from monai.transforms import Lambdad


def fail(value):
    raise KeyError("rows")


def complain(value):
    raise ValueError("folder/a.png: the file has zero bytes")


CASE = {"case_id": "a", "image": "folder/a.png", "value": 1}


def test_an_error_names_the_file_once():
    named = NamingCompose([Lambdad("value", fail)])
    with pytest.raises(RuntimeError, match=r"folder/a\.png: KeyError: 'rows'"):
        list(DataLoader(Dataset([CASE], named), num_workers=1))
    with pytest.raises(RuntimeError, match=r"^a: KeyError"):
        named(CASE | {"image": 5})
    with pytest.raises(RuntimeError, match="applying transform"):
        NamingCompose([fail])(5)
    with pytest.raises(RuntimeError, match=r"^ValueError: folder/a\.png: the file has zero bytes$"):
        NamingCompose([Lambdad("value", complain)])(CASE)
