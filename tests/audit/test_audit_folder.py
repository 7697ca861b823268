import itertools
import json
import shutil
import sys

import numpy as np
import pandas as pd
import pytest
from hybrid_attention.audit import audit
from hybrid_attention.data import DataError, busi_datalist, busi_facts
from hybrid_attention.data.tables import read_groups
from hybrid_attention.phantoms.dataset import make_phantom
from PIL import Image

SIZE = (240, 300)
FILES = ("groups.csv", "pairs.csv", "summary.json", "summary.md")


def phantom(seed, label="benign"):
    return make_phantom(label, seed, SIZE).image


def save(path, array, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)


def rows(path):
    return pd.read_csv(path, dtype=str).to_dict("records")


def grouped(out, column):
    """The groups of two or more images, as sets of names."""
    groups = pd.read_csv(out / "groups.csv").groupby(column)["image_id"].agg(set)
    return [group for group in groups if len(group) > 1]


@pytest.fixture(scope="module")
def audited(tmp_path_factory):
    """A folder with copies of two phantoms among six that are nobody's copy, and its audit."""
    root = tmp_path_factory.mktemp("audit") / "images"
    frame = phantom(0)
    save(root / "a" / "frame.png", frame)
    save(root / "a" / "frame_mask.png", frame > 100)
    shutil.copy(root / "a" / "frame.png", root / "a" / "same bytes.png")
    save(root / "b" / "same pixels.bmp", frame)
    save(root / "b" / "jpeg.jpg", frame, quality=92)
    crop = np.asarray(Image.fromarray(frame[20:220, 30:280]).resize((200, 160), Image.Resampling.BICUBIC)).copy()
    crop[100:104, 30:120] = crop[60:140, 60:64] = 255  # callipers
    save(root / "c" / "d" / "crop.png", crop)
    save(root / "c" / "mirror.png", np.ascontiguousarray(frame[:, ::-1]))
    save(root / "c" / "turned.png", np.rot90(frame).copy())
    for seed in range(1, 7):
        save(root / "z" / f"{seed}.png", phantom(seed, ("benign", "malignant", "normal")[seed % 3]))
    (root / ".hidden.png").write_bytes(b"no image")
    (root / "notes.txt").write_text("no image")
    out = root.parent / "results"
    return root, out, audit(root, out, progress=False)


def test_copies_are_one_group_and_strangers_none(audited):
    _, out, result = audited
    names = {"a/frame.png", "a/same bytes.png", "b/same pixels.bmp", "b/jpeg.jpg"}
    names |= {"c/d/crop.png", "c/mirror.png", "c/turned.png"}
    assert grouped(out, "same_frame_group") == [names]
    assert grouped(out, "duplicate_group") == [names]
    assert len(result.image_ids) == 13
    assert [row["image_id"] for row in rows(out / "groups.csv")] == result.image_ids


def test_pairs_say_how_they_are_alike(audited):
    _, out, _ = audited
    pairs = {frozenset((row["first"], row["second"])): row for row in rows(out / "pairs.csv")}
    frame = "a/frame.png"
    assert pairs[frozenset((frame, "a/same bytes.png"))]["kind"] == "identical_file"
    assert pairs[frozenset((frame, "b/same pixels.bmp"))]["kind"] == "identical_pixels"
    crop = pairs[frozenset((frame, "c/d/crop.png"))]
    assert crop["kind"] == "same_frame"
    assert float(crop["scale"]) == pytest.approx(0.8, abs=0.005)
    assert float(crop["overlap"]) == pytest.approx(1, abs=0.02)
    mirror = pairs[frozenset((frame, "c/mirror.png"))]
    assert (mirror["kind"], mirror["mirrored"]) == ("same_frame", "1")
    turned = pairs[frozenset((frame, "c/turned.png"))]
    assert (turned["kind"], turned["mirrored"]) == ("same_frame", "0")
    assert abs(float(turned["rotation"])) == pytest.approx(90, abs=0.2)
    assert all(row["kind"] != "near_frame" for row in pairs.values())


def test_summary_and_pages(audited):
    _, out, result = audited
    facts = json.loads((out / "summary.json").read_text())
    assert facts["images"] == 13
    assert facts["duplicate"]["groups"] == 1
    assert facts["duplicate"]["images"] == facts["duplicate"]["largest"] == 7
    assert facts["duplicate"]["across_folders"] == 1
    assert facts["pairs"]["identical_file"] == facts["pairs"]["identical_pixels"] == 1
    assert facts["mirrored_pairs"] > 0
    assert (out / "summary.md").read_text() == result.summary()
    assert "7 images (53.8%) in 1 group(s), the largest of 7; 1 group(s)" in result.summary()
    assert {path.name for path in out.iterdir()} == {"contact_sheet_001.png", *FILES}


def test_second_run_replaces_the_first_and_does_not_audit_it(audited, tmp_path):
    root, first_out, result = audited
    copy = shutil.copytree(root, tmp_path / "images")
    out = shutil.copytree(first_out, copy / "results")
    (out / "contact_sheet_002.png").write_bytes(b"from an older run")
    (out / "my notes.txt").write_text("kept")
    for folder in ("a", "b", "c"):
        shutil.rmtree(copy / folder)
    again = audit(copy, out, progress=False)
    assert again.image_ids == [f"z/{seed}.png" for seed in range(1, 7)]
    assert grouped(out, "duplicate_group") == []
    assert {path.name for path in out.iterdir()} == {"my notes.txt", *FILES}
    assert rows(out / "pairs.csv") == []
    assert len(result.copies) > 0


def test_groups_serve_as_groups_csv(phantoms, tmp_path):
    root = shutil.copytree(phantoms, tmp_path / "set")
    shutil.copy(root / "benign" / "benign (2).png", root / "malignant" / "malignant (7).png")
    shutil.copy(root / "benign" / "benign (2)_mask.png", root / "malignant" / "malignant (7)_mask.png")
    result = audit(root, tmp_path / "out", progress=False)
    cases = busi_datalist(root, groups_csv=tmp_path / "out" / "groups.csv")
    group = {case["case_id"]: case["group"] for case in cases}
    assert len(group) == 22
    assert len(set(group.values())) == 21
    assert group["benign/benign (2).png"] == group["malignant/malignant (7).png"]
    assert result.synthetic and "SYNTHETIC DATA" in result.summary()


def test_split_is_judged(audited, tmp_path):
    root, _, _ = audited
    split = tmp_path / "split.csv"
    split.write_text(
        "case_id,class,part\na/frame.png,x,train\nc/d/crop.png,x,test\nz/1.png,x,test\nz/2.png,x,test\nz/3.png,x,test\n"
        "b/jpeg.jpg,x,validation\nz/4.png,x,excluded\n"
    )
    result = audit(root, tmp_path / "out", split, progress=False)
    assert result.split["test_in_train"] == {"same_frame": 0.25, "duplicate": 0.25}
    assert result.split["validation_in_train"] == {"same_frame": 1.0, "duplicate": 1.0}
    assert result.split_counts == {"train": 1, "test": 4, "validation": 1, "excluded": 1, "not in the split": 6}
    assert "| given, test in train | 4 | 25.0% | 25.0% |" in result.summary()


def test_images_without_texture_are_compared_by_their_bytes(tmp_path):
    black, grey = np.zeros((80, 90), np.uint8), np.full((80, 90), 90, np.uint8)
    black[0, 0] = grey[0, 0] = 1
    save(tmp_path / "in" / "black.png", black)
    save(tmp_path / "in" / "grey.png", grey)
    save(tmp_path / "in" / "grey again.bmp", grey)
    save(tmp_path / "in" / "grey wide.png", grey.T.copy())
    save(tmp_path / "in" / "two.png", black[:1, :2].copy())
    save(tmp_path / "in" / "line.png", np.arange(2000, dtype=np.uint8)[:, None])
    save(tmp_path / "in" / "tiny.png", phantom(1)[:12, :15].copy())
    audit(tmp_path / "in", tmp_path / "out", progress=False)
    assert grouped(tmp_path / "out", "duplicate_group") == [{"grey.png", "grey again.bmp"}]


def test_one_image_in_the_published_folder(tmp_path):
    folder = tmp_path / "in" / "Dataset_BUSI_with_GT"
    save(folder / "benign" / "a.png", phantom(1))
    result = audit(tmp_path / "in", tmp_path / "out", progress=False)
    assert result.random_splits == {} and "too few images" in result.summary()
    assert read_groups(tmp_path / "out" / "groups.csv") == {"benign/a.png": "1"}
    with pytest.raises(ValueError, match="must not be written among the images"):
        audit(tmp_path / "in", folder, progress=False)
    assert audit(folder, tmp_path, progress=False).image_ids == ["benign/a.png"]  # above the images


def test_missing_empty_and_unreadable_folders_leave_nothing(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match="absent"):
        audit(tmp_path / "absent", tmp_path / "out")
    save(tmp_path / "in" / "a_mask.png", np.zeros((9, 9), np.uint8))
    with pytest.raises(DataError, match=r"/in "):
        audit(tmp_path / "in", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    save(tmp_path / "in" / "good.png", phantom(1))
    (tmp_path / "in" / "empty.png").write_bytes(b"")
    (tmp_path / "in" / "cut.png").write_bytes((tmp_path / "in" / "good.png").read_bytes()[:2000])
    with pytest.raises(
        DataError, match=r"(?s)2 problem\(s\) in 3 .*cut\.png: truncated .*empty\.png: the file has zero"
    ):
        audit(tmp_path / "in", tmp_path / "out", progress=False)
    assert list((tmp_path / "out").iterdir()) == []
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(ImportError, match=r"pip install '\.\[audit\]'"):
        audit(tmp_path, tmp_path / "out")


def implied_pairs(groups):
    """All pairs of names within a group."""
    return {
        frozenset(pair)
        for _, members in groups.groupby(groups)
        for pair in itertools.combinations(sorted(members.index), 2)
    }


def recall_and_precision(out, column):
    table = pd.read_csv(out / "groups.csv", index_col="image_id")[column]
    facts = busi_facts()
    truth = implied_pairs(pd.Series({name: facts[name][column] for name in table.index}))
    found = implied_pairs(table)
    return len(found & truth) / len(truth), len(found & truth) / len(found), len(truth)


@pytest.mark.busi
def test_real_groups_among_distractors(busi, tmp_path):
    facts = busi_facts()
    members = {}
    for name, row in facts.items():
        members.setdefault(row["same_frame_group"], []).append(name)
    names = [name for group in [group for group in members.values() if len(group) > 2][:8] for name in group]
    names += [group[0] for group in members.values() if len(group) == 1][:20]
    for name in names:
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(busi / name, tmp_path / "in" / name)
    audit(tmp_path / "in", tmp_path / "out", progress=False)
    recall, precision, pairs = recall_and_precision(tmp_path / "out", "same_frame_group")
    assert pairs >= 24
    assert recall == precision == 1


@pytest.mark.busi
@pytest.mark.slow
def test_whole_busi(busi, tmp_path):
    audit(busi, tmp_path / "out", progress=False)
    recall, precision, pairs = recall_and_precision(tmp_path / "out", "same_frame_group")
    assert pairs == 216
    assert recall >= 0.98
    assert precision >= 0.98
    recall, precision, _ = recall_and_precision(tmp_path / "out", "duplicate_group")
    assert recall >= 0.85  # of the near pairs a third was accepted by eye
    assert precision >= 0.98
