import re
import shutil
from collections import Counter

import numpy as np
import pytest
from hybrid_attention.data import DataError, busi_datalist, datalist, folder_datalist, split_cases
from hybrid_attention.data.masks import merged_mask, read_mask
from hybrid_attention.data.splits import PARTS
from PIL import Image

from tests.data import published_sets as sets
from tests.data.dicom_files import REPORT, header, region, write_dicom
from tests.data.published_sets import breast, bus_bra, bus_uclm, busi, mask, picture, plain, sheet, udiat

GREY = np.arange(320, dtype=np.uint8).reshape(16, 20)  # sixteen rows of twenty
LOOP = np.stack([GREY, GREY])


def column(cases, key):
    return [case[key] for case in cases]


@pytest.fixture
def small(tmp_path):
    root = tmp_path / "set"
    for name in ("benign (1)", "benign (2)", "benign (10)", "normal (1)"):
        folder = root / name.split()[0]
        picture(folder / f"{name}.png")
        mask(folder / f"{name}_mask.png", box=None if name == "normal (1)" else (4, 4, 10, 10))
    mask(root / "benign" / "benign (2)_mask_1.png", box=(12, 10, 16, 14))
    return root


def test_layout_and_groups(small, tmp_path):
    picture(small / "benign" / "le\u0301sion.png")
    mask(small / "benign" / "l\u00e9sion_mask.png")
    cases = busi_datalist(small)
    names = [f"benign/{name}.png" for name in ("benign (1)", "benign (2)", "benign (10)", "le\u0301sion")]
    assert column(cases, "case_id") == [*names, "normal/normal (1).png"]
    assert [len(case["label"]) for case in cases] == [1, 2, 1, 1, 1]
    assert column(cases, "class") == ["benign"] * 4 + ["normal"]
    assert column(cases, "lesion_area_fraction") == pytest.approx([36 / 320, 52 / 320, 36 / 320, 36 / 320, 0])
    table = tmp_path / "groups.csv"
    rows = [f"{name},{group}" for name, group in zip(column(cases, "case_id"), ("7", "", "7", "4", "9"), strict=True)]
    table.write_text("\n".join(["image_id,duplicate_group", *rows, "other,3"]).replace("e\u0301", "\u00e9"), "utf-8")
    cases = busi_datalist(small, groups_csv=table)
    assert column(cases, "group") == ["7", "benign/benign (2).png", "7", "4", "9"]
    table.write_text("\n".join(["image_id,duplicate_group", rows[0], *rows[2:]]))
    with pytest.raises(DataError, match=r"groups\.csv: no row for benign/benign \(2\)\.png"):
        busi_datalist(small, groups_csv=table)
    table.write_text("image_id,duplicate_group\na.png,1\nb.png,1\na.png,1\nb.png, 2\nc.png,3\n")
    with pytest.raises(ValueError, match=r"groups\.csv .* has b\.png \(1 and 2\)$"):
        busi_datalist(small, groups_csv=table)


def test_all_faults_at_once(small, tmp_path):
    benign = small / "benign"
    (benign / "benign (1)_mask.png").unlink()
    np.save(benign / "benign (2)_mask_2.npy", np.zeros((16, 20)))
    mask(benign / "benign (10)_mask.png", size=(20, 17))
    mask(small / "normal" / "normal (1)_mask.png")
    picture(small / "malignant" / "m.png")
    mask(small / "malignant" / "m_mask.png", box=None)
    picture(benign / "b.png")
    (benign / "b.png").write_bytes((benign / "b.png").read_bytes()[:-40])  # as its checksums tell
    write_dicom(benign / "b.dcm", GREY)
    mask(benign / "b_mask.png")
    write_dicom(benign / "loop.dcm", LOOP, NumberOfFrames=2)
    mask(benign / "loop#1_mask.png")
    shutil.move(small, tmp_path / "download" / "Dataset_BUSI_with_GT")  # the folder in the published archive
    with pytest.raises(DataError) as caught:
        busi_datalist(tmp_path / "download")
    message = str(caught.value)
    assert message.startswith("8 problem(s) in 9 case(s)") and "Hint: " in message
    for part in (
        "benign (1).png: no mask beside it (expected benign (1)_mask.png)",
        "benign (2)_mask_2.npy: masks of this format are not read",
        "benign (10)_mask.png: mask of 20x17 pixels for an image of 20x16",
        "normal (1)_mask.png: the mask contains a lesion, but the case is of class normal",
        "m_mask.png: the mask is empty, but the case is of class malignant",
        "b.png: truncated or damaged image",
        "b.png: its masks would be those of b.dcm; rename or remove one",
        "loop.dcm#2: no mask beside it (expected loop#2_mask.png)",
    ):
        assert part in message


@pytest.mark.busi
def test_published_files(busi_native):
    cases = {case["case_id"]: case for case in busi_datalist(busi_native)}
    assert len(cases) == 10 and len(cases["benign/benign (195).png"]["label"]) == 3
    with Image.open(cases["benign/benign (4).png"]["label"][1]) as rgba:
        assert rgba.mode == "RGBA"


@pytest.mark.busi
def test_whole_busi(busi, tmp_path):
    cases = busi_datalist(busi)
    classes, masks = column(cases, "class"), [len(case["label"]) for case in cases]
    assert [classes.count(name) for name in ("benign", "malignant", "normal")] == [437, 210, 133]
    assert (masks.count(2), masks.count(3)) == (16, 1)
    assert split_cases(cases).rule.startswith("BUSI leak-free folds")
    rows = [f"{case['case_id']},{('train', 'validation', 'test')[n % 3]}" for n, case in enumerate(cases)]
    (tmp_path / "random.csv").write_text("\n".join(["case_id,part", *rows]))
    with pytest.raises(DataError, match=r"group .* leaks: benign/"):
        split_cases(cases, split_csv=tmp_path / "random.csv")


def test_what_is_left_out_is_listed_once(small, caplog):
    for name in ("benign/a.mha", "benign/clip.avi", "benign/noise.raw", "benign/.hidden.png", "notes.txt"):
        (small / name).write_bytes(b"x" * 200)
    picture(small / "benign" / "@eaDir" / "benign (1).png" / "thumb.jpg")
    picture(small / "unsure" / "u.png")
    assert len(busi_datalist(small)) == 4
    assert caplog.text.count("skipped") == 2
    assert all(name in caplog.text for name in ("3 files", "a.mha", "clip.avi", "noise.raw", "unsure/u.png"))
    assert not any(name in caplog.text for name in ("thumb", "notes", "hidden"))


def test_a_frame_is_a_case_and_frames_of_a_file_stay_together(tmp_path, caplog):
    benign = tmp_path / "benign"
    picture(benign / "b.png")
    write_dicom(benign / "a.dcm", GREY, regions=[region(4, 6, 13, 15)])
    write_dicom(benign / "IM7", GREY)  # without an ending
    for name in ("a", "b", "IM7", "loop#1"):
        mask(benign / f"{name}_mask.png")  # rows and columns 4 to 9; the tissue of a.dcm starts in row 6
    write_dicom(benign / "loop.dcm", LOOP, NumberOfFrames=2)
    mask(benign / "loop#2_mask.png", box=(0, 0, 10, 16))
    mask(benign / "loop#2_mask_1.png", box=(10, 0, 20, 16))
    header(REPORT, Modality="SR").save_as(benign / "report.dcm", enforce_file_format=True)
    cases = busi_datalist(tmp_path)
    names = ["IM7", "a.dcm", "b.png", "loop.dcm#1", "loop.dcm#2"]
    assert column(cases, "image") == [str(benign / name) for name in names]
    assert [len(case["label"]) for case in cases] == [1, 1, 1, 1, 2]
    assert column(cases, "group") == [f"benign/{name.split('#')[0]}" for name in names]
    assert column(cases, "lesion_area_fraction") == pytest.approx([36 / 320, 6 * 4 / 100, 36 / 320, 36 / 320, 1])
    assert "report.dcm is skipped: this DICOM file is not an image" in caplog.text


@pytest.mark.parametrize("write", sets.SETS, ids=lambda write: write.__name__)
def test_cases_of_a_folder_or_the_one_above(write, tmp_path):
    expected = write(tmp_path / "published")
    (tmp_path / "archive.zip").write_bytes(b"")
    for root in [tmp_path / "published", *([tmp_path] if write is not plain else [])]:
        cases = datalist(root)
        found = [tuple(case[key] for key in ("case_id", "class", "group", "birads", "device")) for case in cases]
        assert found == expected
    for case in cases:
        assert case["dataset"] == sets.PLACED.get(write.__name__, write.__name__) and case["synthetic"] is False
        lesion = merged_mask([read_mask(path) for path in case["label"]])
        area = 0 if case["class"] == "normal" or case["case_id"] == "b.jpg" else 36
        assert lesion.sum() == area and case["lesion_area_fraction"] == area / 320
        assert lesion[4:10, 4:10].all() or not area


def test_all_at_once_can_be_batched(tmp_path, caplog):
    expected = [case for write in sets.SETS for case in write(tmp_path / write.__name__)]
    cases = datalist([tmp_path / write.__name__ for write in sets.SETS])
    assert [case["case_id"] for case in cases] == [case[0] for case in expected]
    for line in ("Doppler): DOPP", "combined views): TWIN", "mask of another size): WIDE", "without a mask): case045"):
        assert re.search(rf"1 images skipped \(.*{re.escape(line)}", caplog.text)
    folds = {"udiat": 1, "bus_uclm": 2}
    table = ["case_id;fold", *(f"{case['case_id']};{folds.get(case['dataset'], 0)}" for case in cases)]
    (tmp_path / "split.csv").write_text("\n".join(table))
    split = split_cases(cases, lesions_only=False, split_csv=tmp_path / "split.csv")
    members = [case for part in ("train", "validation", "test") for case in split.part(part)]
    assert len({frozenset(case) for case in members}) == 1 and not any(None in case.values() for case in members)


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
    with pytest.raises(FileNotFoundError, match=f"looks like .*, but lacks .*{required.split('*')[-1]}"):
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


def test_missing_and_empty_folders(tmp_path):
    for read in (busi_datalist, folder_datalist):
        with pytest.raises(FileNotFoundError, match="none does not exist"):
            read(tmp_path / "none")
    with pytest.raises(FileNotFoundError, match="contains none of benign/, malignant/, normal/"):
        busi_datalist(tmp_path)
    (tmp_path / "benign").mkdir()
    with pytest.raises(DataError, match=r"no image \(\.png, .*\.nii, \.nii\.gz, \.dcm, \.dicom, \.ima\) in benign/"):
        busi_datalist(tmp_path)
    picture(tmp_path / "images" / "a.png")
    with pytest.raises(DataError, match="no image with a mask beside it"):
        datalist(tmp_path / "images")


def test_groups_of_plain_folders(tmp_path):
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
        ("DatasetB.csv", b"Image, Type,Type\n1,2,3\n", "csv .* has Type several times"),
        ("DatasetB.csv", b'Image,Type\n\n"x\ny",1\n1,2,3\n', "csv, line 5: 3 cells, but the header has 2"),
        ("DatasetB.csv", b"PK\x03\x04\x14\0\x06\0\x08\0", "csv is not a CSV file"),
        ("DatasetB.csv", b"Image,Type\n\x81,2\n", "csv is not a CSV file"),
        ("DatasetB.xlsx", b"PK\x03\x04 nothing more", "xlsx is not an Excel sheet"),
        ("DatasetB.xlsx", None, r"DatasetB\.xlsx: .* found '' \(000002\), '' \(000003\)"),  # errors of Excel are empty
    ],
)
def test_tables(name, content, message, tmp_path):
    udiat(tmp_path)
    (tmp_path / "DatasetB.xlsx").unlink()
    if content is None:
        sheet(tmp_path / name, ["Image", "Type", "Age"], [1, "Benign", "#DIV/0!"], [2, "#N/A", 50], [3, "#REF!", 50])
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
    assert "has no DatasetB.xlsx or DatasetB.csv" in caplog.text and len(split_cases(cases * 2, num_folds=3).train) == 2


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
