import pytest
from hybrid_attention.transforms import NamingCompose
from monai.data import CacheDataset, DataLoader, Dataset
from monai.transforms import Lambdad


def fail(value):
    raise KeyError("rows")


CASES = [{"case_id": "a", "image": "folder/a.png", "value": 1}]


@pytest.mark.parametrize("workers", [0, 1])
def test_an_error_names_the_file(workers):
    dataset = Dataset(CASES, NamingCompose([Lambdad("value", fail)]))
    with pytest.raises(RuntimeError, match=r"folder/a\.png: KeyError: 'rows'"):
        list(DataLoader(dataset, num_workers=workers))


def test_cached_cases_and_those_without_a_path():
    with pytest.raises(RuntimeError, match=r"folder/a\.png: KeyError"):
        CacheDataset(CASES, NamingCompose([Lambdad("value", fail)]), progress=False)
    with pytest.raises(RuntimeError, match="b: KeyError"):
        NamingCompose([Lambdad("value", fail)])({"case_id": "b", "image": 5, "value": 1})
    with pytest.raises(RuntimeError, match="applying transform"):
        NamingCompose([fail])(5)


def test_a_message_that_names_the_file_is_kept():
    def complain(value):
        raise ValueError("folder/a.png: the file has zero bytes")

    with pytest.raises(RuntimeError) as error:
        NamingCompose([Lambdad("value", complain)])(CASES[0])
    assert str(error.value) == "ValueError: folder/a.png: the file has zero bytes"
