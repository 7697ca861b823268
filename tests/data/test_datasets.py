import shutil
from collections import Counter

import pytest
from hybrid_attention.data import DataError, datalist, folder_datalist, split_cases
from hybrid_attention.data.masks import merged_mask, read_mask
from hybrid_attention.data.splits import PARTS

from tests.data.published_sets import PLACED, SETS, breast, bus_bra, bus_uclm, busi, picture, plain, sheet, udiat


@pytest.mark.parametrize("write", SETS, ids=lambda write: write.__name__)
def test_cases_of_a_folder_or_the_one_above(write, tmp_path):
    expected = write(tmp_path / "published")
    (tmp_path / "archive.zip").write_bytes(b"")
    for root in [tmp_path / "published", *([tmp_path] if write is not plain else [])]:
        cases = datalist(root)
        found = [tuple(case[key] for key in ("case_id", "class", "group", "birads", "device")) for case in cases]
        assert found == expected
    for case in cases:
        assert case["dataset"] == PLACED.get(write.__name__, write.__name__) and case["synthetic"] is False
        lesion = merged_mask([read_mask(path) for path in case["label"]])
        area = 0 if case["class"] == "normal" or case["case_id"] == "b.jpg" else 36
        assert lesion.sum() == area and case["lesion_area_fraction"] == area / 320
        assert lesion[4:10, 4:10].all() or not area


def test_all_at_once_can_be_batched(tmp_path, caplog):
    expected = [case for write in SETS for case in write(tmp_path / write.__name__)]
    cases = datalist([tmp_path / write.__name__ for write in SETS])
    assert [case["case_id"] for case in cases] == [case[0] for case in expected]
    reasons = ("Doppler): DOPP_000", "combined views): TWIN_000", "mask of another size): WIDE_000")
    for line in (*reasons, "normal, without a mask): case045"):
        assert f"1 images skipped ({line}" in caplog.text
    folds = {"udiat": 1, "bus_uclm": 2}
    table = ["case_id;fold", *(f"{case['case_id']};{folds.get(case['dataset'], 0)}" for case in cases)]
    (tmp_path / "split.csv").write_text("\n".join(table))
    split = split_cases(cases, lesions_only=False, split_csv=tmp_path / "split.csv")
    members = [case for part in ("train", "validation", "test") for case in split.part(part)]
    assert len({frozenset(case) for case in members}) == 1
    assert not any(value is None for case in members for value in case.values())


IMAGES = "BrEaST-Lesions_USG-images_and_masks"


@pytest.mark.parametrize(
    ("write", "listed", "table", "image", "mask", "required"),
    [
        (bus_bra, 3, "bus_data.csv", "Images/bus_0001-l.png", "Masks/mask_0001-l.png", "5-fold-cv.csv"),
        (bus_uclm, 7, "INFO.csv", "images/ALWI_000.png", "masks/ALWI_000.png", "INFO.csv"),
        (breast, 3, "clinical", f"{IMAGES}/case001.png", f"{IMAGES}/case001_tumor.png", "*clinical*.xlsx"),
        (udiat, 3, "DatasetB.xlsx", "original/000001.png", "GT/000001.png", "GT"),
    ],
)
def test_what_is_missing_is_named(write, listed, table, image, mask, required, tmp_path, caplog):
    expected = write(tmp_path)
    (tmp_path / image).rename(tmp_path / "kept")
    assert len(datalist(tmp_path)) == len(expected) - 1
    assert f"lists {listed} images, of which 1 are missing" in caplog.text and table in caplog.text
    stranger = shutil.copy(tmp_path / "kept", (tmp_path / image).with_name("case999.png"))
    with pytest.raises(DataError, match=r"1 problem.*\n.*case999"):
        datalist(tmp_path)
    stranger.unlink()
    (tmp_path / "kept").rename(tmp_path / image)
    (tmp_path / mask).unlink()
    with pytest.raises(DataError, match=r"1 problem.*\n.*(000001|0001-l|ALWI_000|case001)(_tumor)?\.png"):
        datalist(tmp_path)
    next(tmp_path.glob(required)).rename(tmp_path / "elsewhere")
    title = {bus_bra: "BUS-BRA", bus_uclm: "BUS-UCLM", breast: "BrEaST", udiat: "UDIAT"}[write]
    with pytest.raises(FileNotFoundError, match=f"looks like {title}, but lacks .*{required.split('*')[-1]}"):
        datalist(tmp_path)


def test_more_than_one_set(tmp_path):
    for name, other in {"a": udiat, "b/bus_bra": bus_bra, "c/mine": lambda root: picture(root / "x.png")}.items():
        root = tmp_path / name[0]
        busi(root if name == "a" else root / "busi")
        other(tmp_path / name)
        with pytest.raises(DataError, match=r"more than one data set .*BUSI in"):
            datalist(root)


def test_sets_that_share_an_image_or_a_name(tmp_path):
    busi(tmp_path / "one")
    udiat(tmp_path / "two")
    shutil.copy(tmp_path / "one" / "benign" / "a (1).png", tmp_path / "two" / "original" / "000002.png")
    with pytest.raises(DataError, match=r"000002\.png: is the same image as .*a \(1\)\.png"):
        datalist([tmp_path / "one", tmp_path / "two"])
    for name in ("three", "four"):
        plain(tmp_path / name)
    with pytest.raises(DataError, match=r"four/b\.jpg: has the name of .*three/b\.jpg"):
        datalist([tmp_path / "three", tmp_path / "four"])


def test_plain_folders(tmp_path):
    with pytest.raises(FileNotFoundError, match="none does not exist"):
        folder_datalist(tmp_path / "none")
    picture(tmp_path / "images" / "a.png")
    with pytest.raises(DataError, match="no image with a mask beside it"):
        datalist(tmp_path / "images")
    plain(tmp_path / "plain")
    bus_bra(tmp_path / "bus_bra")
    table = tmp_path / "groups.csv"
    table.write_text("image_id,duplicate_group\na.png,7\nb.jpg,7\ndeeper/a.png,8\n")
    cases = datalist([tmp_path / "plain", tmp_path / "bus_bra"], table)
    assert [case["group"] for case in cases][:3] == ["folder/7", "folder/7", "folder/8"]
    with pytest.raises(ValueError, match="groups of BUS-BRA are known"):
        datalist(tmp_path / "bus_bra", table)


EXCEL = "image;Type\r\n000001;Benign\r\n2;Malignant\r\n3;benign\r\n2.png;malignant\r\n;\r\n"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("DatasetB.csv", EXCEL.encode("utf-16"), None),
        ("DatasetB.csv", b"Image,Type\n1,Unclear\n", r"csv: expected the classes .* found 'unclear' \(000001\)"),
        ("DatasetB.csv", b"Image,Kind\n1,Benign\n", "csv lacks the columns type; it has image, kind"),
        ("DatasetB.csv", b"Image,Type\n1,Benign\n000001.png,Malignant\n2,Benign\n2,\n", "csv .* for 000001, 000002"),
        ("DatasetB.csv", b"Image,Type\n", "csv has no rows"),
        ("DatasetB.xlsx", b"PK\x03\x04 nothing more", "xlsx is not an Excel sheet"),
        ("DatasetB.xlsx", None, r"DatasetB\.xlsx: .* found '' \(000002\), '' \(000003\)"),  # errors of Excel are empty
    ],
)
def test_tables(name, content, message, tmp_path):
    udiat(tmp_path)
    (tmp_path / "DatasetB.xlsx").unlink()
    if content is None:
        rows = [["Image", "Type", "Age"], [1, "Benign", "#DIV/0!"], [2, "#N/A", 50], [3, "#REF!", 50]]
        sheet(tmp_path / name, *rows)
    else:
        (tmp_path / name).write_bytes(content)
    if message is None:
        assert [case["class"] for case in datalist(tmp_path)] == ["benign", "malignant", "benign"]
    else:
        with pytest.raises(ValueError, match=message):
            datalist(tmp_path)


def test_udiat_without_its_table(tmp_path, caplog):
    udiat(tmp_path)
    (tmp_path / "DatasetB.xlsx").unlink()
    cases = datalist(tmp_path)
    assert [case["class"] for case in cases] == ["", "", ""]
    assert "has no DatasetB.xlsx or DatasetB.csv" in caplog.text
    assert len(split_cases(cases * 2, num_folds=3).train) == 2


@pytest.mark.bus_bra
def test_real_bus_bra(bus_bra):
    cases = datalist(bus_bra)
    rows = (bus_bra / "bus_data.csv").read_text().count("\n") - 1
    assert len(cases) == rows in (1492, 1875)  # the official folds 1 to 4, or all five
    classes, categories = (Counter(case[key] for case in cases) for key in ("class", "birads"))
    assert set(classes) == {"benign", "malignant"} and min(classes.values()) > 400
    assert set(categories) == {*"2345"} and len({case["device"] for case in cases}) == 4
    for fold in range(5 if rows == 1875 else 3):
        split = split_cases(cases, fold)
        assert split.rule.startswith("BUS-BRA official folds")
        train, validation, test = ({case["group"] for case in split.part(part)} for part in PARTS[:3])
        assert not (train & validation or train & test or validation & test)
        assert test == {case["group"] for case in cases if case["fold"] == fold}
