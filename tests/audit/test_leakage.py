import pandas as pd
import pytest
from hybrid_attention.audit.leakage import random_leakage, read_split, split_leakage

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
