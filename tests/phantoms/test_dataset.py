import os
import shutil

import numpy as np
import pytest
from hybrid_attention.data.datasets import SYNTHETIC_MARKER, is_synthetic
from hybrid_attention.phantoms import dataset, make_phantom, write_phantom_dataset
from PIL import Image

SMALL = {"benign": 2, "malignant": 1, "normal": 1, "size": (64, 72)}


def contents(root):
    return {str(f.relative_to(root)): f.read_bytes() for f in sorted(root.rglob("*")) if f.is_file()}


def test_layout_and_modes(tmp_path):
    counts = {"benign": 2, "malignant": 12, "normal": 1}
    root = tmp_path / "new" / "set"
    assert write_phantom_dataset(root, **counts, size=(64, 72)) == root
    names = set(contents(root))
    images = {f"{name}/{name} ({i}).png" for name, count in counts.items() for i in range(1, count + 1)}
    expected = images | {image.replace(".png", "_mask.png") for image in images} | {SYNTHETIC_MARKER}
    extra = names - expected
    assert expected <= names
    assert extra and all(name.endswith("_mask_1.png") for name in extra), "two lesions somewhere among fifteen images"
    for name in names - {SYNTHETIC_MARKER}:
        with Image.open(root / name) as picture:
            assert (picture.size, picture.mode) == ((72, 64), "1" if "_mask" in name else "L")
    assert not np.asarray(Image.open(root / "normal" / "normal (1)_mask.png")).any()


def test_files_hold_the_phantoms_and_the_marker_says_so(tmp_path):
    root = write_phantom_dataset(tmp_path / "set", **SMALL, seed=2)
    p = make_phantom("benign", 2_000_001, (64, 72))
    np.testing.assert_array_equal(np.asarray(Image.open(root / "benign" / "benign (2).png")), p.image)
    np.testing.assert_array_equal(np.asarray(Image.open(root / "benign" / "benign (2)_mask.png")), p.masks[0])
    text = (root / SYNTHETIC_MARKER).read_text()
    assert {"seed: 2", "benign: 2", "malignant: 1", "normal: 1"} <= set(text.splitlines())
    assert "synthetic" in text and "patient" in text
    assert is_synthetic(root) and not is_synthetic(tmp_path) and not is_synthetic(tmp_path / "absent")


@pytest.mark.parametrize(
    ("first", "second", "named"),
    [
        ({}, {"seed": 1}, "seed: 1"),
        ({}, {"benign": 3}, "benign: 3"),
        ({}, {"size": None}, "size"),
        ({}, {"echogenicity": "mixed"}, "echogenicity of the lesions: mixed"),
        ({"echogenicity": "mixed"}, {}, "not echogenicity of the lesions: mixed"),
    ],
)
def test_same_data_set_is_left_untouched_and_others_are_refused(tmp_path, monkeypatch, first, second, named):
    root = write_phantom_dataset(tmp_path / "set", **SMALL, **first)
    before, times = contents(root), {f: f.stat().st_mtime_ns for f in root.rglob("*")}
    monkeypatch.setattr(dataset, "make_phantom", lambda *_: pytest.fail("drawn again"))
    assert write_phantom_dataset(root, **SMALL, **first) == root
    with pytest.raises(FileExistsError, match=named):
        write_phantom_dataset(root, **{**SMALL, **second})
    monkeypatch.setattr(dataset, "PHANTOM_VERSION", "next")
    with pytest.raises(FileExistsError, match="generator version: next"):
        write_phantom_dataset(root, **SMALL, **first)
    assert contents(root) == before
    assert {f: f.stat().st_mtime_ns for f in root.rglob("*")} == times
    monkeypatch.undo()
    (root / "benign" / "benign (2).png").unlink()
    with pytest.raises(FileExistsError, match="lacks 1 of its 2 benign"):
        write_phantom_dataset(root, **SMALL, **first)


@pytest.mark.parametrize(
    "make",
    [
        lambda root: (root.mkdir(), (root / "patient.png").write_bytes(b"x")),
        lambda root: root.mkdir(),
        lambda root: root.write_text("notes"),
        lambda root: root.symlink_to("nowhere"),
    ],
)
def test_foreign_root_is_refused_and_unchanged(tmp_path, make):
    make(tmp_path / "mine")
    before = sorted(str(f) for f in tmp_path.rglob("*"))
    with pytest.raises(FileExistsError, match="mine"):
        write_phantom_dataset(tmp_path / "mine", **SMALL)
    assert sorted(str(f) for f in tmp_path.rglob("*")) == before


def test_a_failure_half_way_leaves_nothing(tmp_path, monkeypatch):
    calls = []

    def fail_at_third(*args, **options):
        calls.append(args)
        assert not (tmp_path / "set").exists(), "the root appeared before it was complete"
        if len(calls) == 3:
            raise OSError(28, "No space left on device")
        return make_phantom(*args, **options)

    monkeypatch.setattr(dataset, "make_phantom", fail_at_third)
    with pytest.raises(OSError, match="No space left"):
        write_phantom_dataset(tmp_path / "set", **SMALL)
    assert len(calls) == 3 and not list(tmp_path.iterdir())


def test_parent_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"can't write .*file/set"):
        write_phantom_dataset(tmp_path / "file" / "set", **SMALL)


@pytest.mark.parametrize(
    "wrong",
    [{"benign": -1}, {"seed": -1}, {"benign": 0, "malignant": 0, "normal": 0}, {"benign": 10**6}, {"size": (9, 9)}],
)
def test_wrong_arguments_create_nothing(tmp_path, wrong):
    with pytest.raises(ValueError, match="got"):
        write_phantom_dataset(tmp_path / "set", **{**SMALL, **wrong})
    assert not list(tmp_path.iterdir())


def test_another_process_may_be_faster(tmp_path, monkeypatch):
    other, root = write_phantom_dataset(tmp_path / "other", **SMALL), tmp_path / "new" / "set"

    def draw(*arguments, **options):
        if not root.exists():
            shutil.copytree(other, root)
        return make_phantom(*arguments, **options)

    monkeypatch.setattr(dataset, "make_phantom", draw)
    assert write_phantom_dataset(root, **SMALL) == root
    assert contents(root) == contents(other)
    assert os.listdir(root.parent) == ["set"], "the slower one left its copy behind"
