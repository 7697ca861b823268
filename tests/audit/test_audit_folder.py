import itertools
import json
import shutil
import sys

import numpy as np
import pandas as pd
import pytest
from hybrid_attention.audit import audit
from hybrid_attention.audit.contact_sheet import contact_pages
from hybrid_attention.audit.keypoints import Picture
from hybrid_attention.audit.leakage import random_leakage, read_split, split_leakage
from hybrid_attention.audit.near_duplicates import Copy
from hybrid_attention.data import DataError, busi_datalist, busi_facts
from hybrid_attention.phantoms.dataset import make_phantom
from PIL import Image

FILES = {"groups.csv", "pairs.csv", "summary.json", "summary.md"}
COPIES = {"a/frame.png", "a/same bytes.png", "b/same pixels.bmp", "b/jpeg.jpg"}
COPIES |= {"c/d/crop.png", "c/mirror.png", "c/turned.png"}


def phantom(seed, label="benign"):
    return make_phantom(label, seed, (240, 300)).image


def save(path, array, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.ascontiguousarray(array)).save(path, **options)


def grouped(out, column="duplicate_group"):
    """The groups of two or more images, as sets of names."""
    groups = pd.read_csv(out / "groups.csv").groupby(column)["image_id"].agg(set)
    return [group for group in groups if len(group) > 1]


@pytest.fixture(scope="module")
def audited(tmp_path_factory):
    """A folder with copies of a phantom among six that are nobody's copy, and its audit."""
    root = tmp_path_factory.mktemp("audit") / "images"
    frame = phantom(0)
    save(root / "a" / "frame.png", frame)
    save(root / "a" / "frame_mask.png", frame > 100)
    shutil.copy(root / "a" / "frame.png", root / "a" / "same bytes.png")
    save(root / "b" / "same pixels.bmp", frame)
    save(root / "b" / "jpeg.jpg", frame, quality=92)
    crop = np.array(Image.fromarray(frame[20:220, 30:280]).resize((200, 160), Image.Resampling.BICUBIC))
    crop[100:104, 30:120] = crop[60:140, 60:64] = 255  # callipers
    save(root / "c" / "d" / "crop.png", crop)
    save(root / "c" / "mirror.png", frame[:, ::-1])
    save(root / "c" / "turned.png", np.rot90(frame))
    for seed in range(1, 7):
        save(root / "z" / f"{seed}.png", phantom(seed, ("benign", "malignant", "normal")[seed % 3]))
    (root / ".hidden.png").write_bytes(b"no image")
    (root / "notes.txt").write_text("no image")
    parts = {"a/frame.png": "train", "b/jpeg.jpg": "validation", "z/4.png": "excluded"}
    parts |= dict.fromkeys(("c/d/crop.png", "z/1.png", "z/2.png", "z/3.png"), "test")
    split, out = root.parent / "split.csv", root.parent / "results"
    split.write_text("\n".join(["case_id,class,part", *(f"{name},x,{part}" for name, part in parts.items())]))
    return root, out, audit(root, out, split, progress=False)


def test_files_of_the_results(audited):
    _, out, result = audited
    assert grouped(out, "same_frame_group") == grouped(out) == [COPIES]
    assert list(pd.read_csv(out / "groups.csv")["image_id"]) == result.image_ids and len(result.image_ids) == 13
    pairs = pd.read_csv(out / "pairs.csv", index_col=["first", "second"]).loc["a/frame.png"]
    assert dict(pairs.kind) == dict.fromkeys(COPIES - {"a/frame.png"}, "same_frame") | {
        "a/same bytes.png": "identical_file",
        "b/same pixels.bmp": "identical_pixels",
    }
    assert pairs.scale["c/d/crop.png"] == pytest.approx(0.8, abs=0.005)
    assert pairs.overlap["c/d/crop.png"] == pytest.approx(1, abs=0.02)
    assert (pairs.mirrored["c/mirror.png"], pairs.mirrored["c/turned.png"]) == (1, 0)
    assert abs(pairs.rotation["c/turned.png"]) == pytest.approx(90, abs=0.2)
    facts = json.loads((out / "summary.json").read_text())
    assert facts["images"] == 13 and facts["mirrored_pairs"] > 0
    assert [facts["duplicate"][key] for key in ("groups", "images", "largest", "across_folders")] == [1, 7, 7, 1]
    assert facts["pairs"] == {"identical_file": 1, "identical_pixels": 1, "same_frame": len(result.copies) - 2}
    assert (out / "summary.md").read_text() == result.summary()
    assert "7 images (53.8%) in 1 group(s), the largest of 7; 1 group(s)" in result.summary()
    assert result.split["test_in_train"]["duplicate"] == 0.25
    assert result.split_counts == {"train": 1, "test": 4, "validation": 1, "excluded": 1, "not in the split": 6}
    assert "| given, test in train | 4 | 25.0% | 25.0% |" in result.summary()
    assert {path.name for path in out.iterdir()} == {"contact_sheet_001.png", *FILES}


def test_second_run_replaces_the_first_and_does_not_audit_it(audited, tmp_path):
    root, first_out, _ = audited
    shutil.copytree(root / "z", tmp_path / "images" / "z")
    out = shutil.copytree(first_out, tmp_path / "images" / "results")
    (out / "contact_sheet_002.png").write_bytes(b"from an older run")
    (out / "my notes.txt").write_text("kept")
    again = audit(tmp_path / "images", out, progress=False)
    assert again.image_ids == [f"z/{seed}.png" for seed in range(1, 7)]
    assert grouped(out) == [] and again.copies == [] and len(pd.read_csv(out / "pairs.csv")) == 0
    assert {path.name for path in out.iterdir()} == {"my notes.txt", *FILES}


def test_groups_serve_as_groups_csv(phantoms, tmp_path):
    root = shutil.copytree(phantoms, tmp_path / "in" / "Dataset_BUSI_with_GT")
    for end in (".png", "_mask.png"):
        shutil.copy(root / "benign" / f"benign (2){end}", root / "malignant" / f"malignant (7){end}")
    result = audit(tmp_path / "in", tmp_path / "out", progress=False)
    assert result.synthetic and "SYNTHETIC DATA" in result.summary()
    cases = busi_datalist(root, groups_csv=tmp_path / "out" / "groups.csv")
    group = {case["case_id"]: case["group"] for case in cases}
    assert len(group) == 22 and len(set(group.values())) == 21
    assert group["benign/benign (2).png"] == group["malignant/malignant (7).png"]
    with pytest.raises(ValueError, match="must not be written among the images"):
        audit(tmp_path / "in", root, progress=False)


def test_images_without_texture_are_compared_by_their_bytes(tmp_path):
    grey = np.full((80, 90), 90, np.uint8)
    grey[0, 0] = 1
    pictures = {"grey.png": grey, "grey again.bmp": grey, "grey wide.png": grey.T, "two.png": grey[:1, :2]}
    for name, array in {**pictures, "tiny.png": phantom(1)[:12, :15]}.items():
        save(tmp_path / "in" / name, array)
    audit(tmp_path / "in", tmp_path / "out", progress=False)
    assert grouped(tmp_path / "out") == [{"grey.png", "grey again.bmp"}]


def test_missing_empty_and_unreadable_folders_leave_nothing(tmp_path, monkeypatch):
    save(tmp_path / "in" / "a_mask.png", np.zeros((9, 9), np.uint8))
    with pytest.raises(DataError, match=r"/in "):
        audit(tmp_path / "in", tmp_path / "out")
    with pytest.raises(FileNotFoundError, match="absent"):
        audit(tmp_path / "absent", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    save(tmp_path / "in" / "good.png", phantom(1))
    (tmp_path / "in" / "empty.png").write_bytes(b"")
    (tmp_path / "in" / "cut.png").write_bytes((tmp_path / "in" / "good.png").read_bytes()[:2000])
    listed = r"(?s)2 problem\(s\) in 3 .*cut\.png: truncated .*empty\.png: the file has zero"
    with pytest.raises(DataError, match=listed):
        audit(tmp_path / "in", tmp_path / "out", progress=False)
    assert list((tmp_path / "out").iterdir()) == []
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(ImportError, match=r"pip install '\.\[audit\]'"):
        audit(tmp_path, tmp_path / "out")


NAMES = ["a.png", "b.png", "c.png", "d.png", "e.png"]


def test_shares_by_hand():
    groups = pd.DataFrame({"same_frame": [1, 1, 2, 3, 4], "duplicate": [1, 1, 2, 2, 3]}, index=NAMES)
    parts = dict(zip(NAMES, ["train", "test", "test", "validation", "train"], strict=True))
    assert split_leakage(groups, parts) == {
        "test_in_train": {"same_frame": 0.5, "duplicate": 0.5},
        "validation_in_train": {"same_frame": 0.0, "duplicate": 0.0},
        "test_in_validation": {"same_frame": 0.0, "duplicate": 0.5},
    }
    del parts["d.png"]
    assert split_leakage(groups, parts)["validation_in_train"]["duplicate"] is None


def test_random_splits_of_pairs_leak_as_chance_says():
    pairs = pd.DataFrame({"same_frame": range(200), "duplicate": [index // 2 for index in range(200)]})
    leaks = random_leakage(pairs, seed=3)
    for split, images in (("80/10/10", 20), ("80/20", 40)):
        assert leaks[split]["same_frame"] == {"mean": 0, "sd": 0, "images": images}
        # the partner of a test image is one of the 199 others, of which 160 train
        assert leaks[split]["duplicate"]["mean"] == pytest.approx(160 / 199, abs=0.05)
        assert 0 < leaks[split]["duplicate"]["sd"] < 0.15
    assert leaks == random_leakage(pairs, seed=3) != random_leakage(pairs, seed=4)
    assert random_leakage(pairs[:2]) == {}


def test_split_files(tmp_path):
    path = tmp_path / "split.csv"
    path.write_text("case_id,class,part\na.png,x,train\nb.png,y,test\n")
    assert read_split(path, NAMES) == {"a.png": "train", "b.png": "test"}
    for text, message in (
        ("case_id,fold\na.png,0\n", "got fold"),
        ("case_id,part\na.png,train\n", "no image with part 'test'"),
        ("case_id,part\na.png,test\n", "no image with part 'train'"),
        ("case_id,part\nx.png,train\ny.png,test\n", r"2 problem\(s\) in 2.*\n.*x\.png: not among.*\n.*y\.png"),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=message):
            read_split(path, NAMES)


def sheet(*sizes, grey=0, name="x.png"):
    """Pages of groups with as many images of one frame."""
    numbers = np.repeat(np.arange(len(sizes)), sizes)
    groups = pd.DataFrame({"same_frame": numbers, "duplicate": numbers}, index=[name] * len(numbers))
    firsts = [int(np.flatnonzero(numbers == number)[0]) for number in numbers]
    copies = [Copy(first, index, "same_frame") for index, first in enumerate(firsts) if first != index]
    picture = Picture(np.full((120, 160), grey, np.uint8), np.zeros((0, 4)), np.zeros((0, 128)))
    return list(contact_pages(groups, copies, dict.fromkeys(range(len(numbers)), picture)))


def black_cells(page):
    """Count the thumbnails on a page by their black pixels: 213 x 160 each."""
    return round(float((np.asarray(page) == 0).sum()) / (213 * 160))


def test_every_image_of_every_group_is_shown_the_largest_first():
    assert sheet(1, 1) == []
    assert [black_cells(page) for page in sheet(3, 7, 2, 14, 2, 5, 60, 1)] == [48, 12 + 14 + 7 + 5, 3 + 2 + 2]
    assert [(page.height, black_cells(page)) for page in sheet(100)] == [(1602, 48), (1602, 48), (230, 4)]


def test_long_names_stay_in_their_cell():
    short, long = (np.asarray(sheet(2, grey=255, name=name)[0])[40:] for name in ("x.png", "WWWWW " * 60 + ".png"))
    np.testing.assert_array_equal(long[:, 464:], short[:, 464:])
    assert (long[:, 224:232] == 255).all() and (long[:, 200:224] < 255).any()  # not cut by the next cell


def recall_and_precision(out, column):
    def pairs(groups):
        members = [sorted(group.index) for _, group in groups.groupby(groups)]
        return {pair for names in members for pair in itertools.combinations(names, 2)}

    table = pd.read_csv(out / "groups.csv", index_col="image_id")[column]
    found, truth = pairs(table), pairs(pd.Series({name: busi_facts()[name][column] for name in table.index}))
    return len(found & truth) / len(truth), len(found & truth) / len(found), len(truth)


@pytest.mark.busi
def test_real_groups_among_distractors(busi, tmp_path):
    groups = pd.DataFrame(busi_facts()).T.groupby("same_frame_group", sort=False).groups.values()
    several, alone = (
        [list(group) for group in groups if len(group) > 2],
        [[*group] for group in groups if len(group) == 1],
    )
    for name in itertools.chain(*several[:8], *alone[:20]):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(busi / name, tmp_path / "in" / name)
    audit(tmp_path / "in", tmp_path / "out", progress=False)
    recall, precision, pairs = recall_and_precision(tmp_path / "out", "same_frame_group")
    assert pairs >= 24 and recall == precision == 1


@pytest.mark.busi
@pytest.mark.slow
def test_whole_busi(busi, tmp_path):
    audit(busi, tmp_path / "out", progress=False)
    recall, precision, pairs = recall_and_precision(tmp_path / "out", "same_frame_group")
    assert pairs == 216 and min(recall, precision) >= 0.98
    recall, precision, _ = recall_and_precision(tmp_path / "out", "duplicate_group")
    assert recall >= 0.85 and precision >= 0.98  # of the near pairs a third was accepted by eye
