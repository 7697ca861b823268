from __future__ import annotations

import multiprocessing
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hybrid_attention.data.datasets.busi import is_synthetic
from hybrid_attention.phantoms import dataset
from hybrid_attention.phantoms.dataset import PHANTOM_VERSION, SYNTHETIC_MARKER, make_phantom, write_phantom_dataset
from PIL import Image

SMALL: dict[str, Any] = {"benign": 2, "malignant": 1, "normal": 1, "size": (64, 72)}


def contents(root: Path) -> dict[str, bytes]:
    return {str(f.relative_to(root)): f.read_bytes() for f in sorted(root.rglob("*")) if f.is_file()}


def test_layout_and_modes(tmp_path: Path) -> None:
    root = tmp_path / "new" / "set"
    assert write_phantom_dataset(root, benign=2, malignant=12, normal=1, size=(64, 72)) == root
    names = set(contents(root))
    masks = {
        f"{c}/{c} ({i})_mask.png" for c, n in (("benign", 2), ("malignant", 12), ("normal", 1)) for i in range(1, n + 1)
    }
    images = {name.replace("_mask", "") for name in masks}
    extra = names - masks - images - {SYNTHETIC_MARKER}
    assert masks | images | {SYNTHETIC_MARKER} <= names
    assert extra and all(name.endswith("_mask_1.png") for name in extra), "two lesions somewhere among fifteen images"
    for name in names - {SYNTHETIC_MARKER}:
        with Image.open(root / name) as picture:
            assert picture.size == (72, 64)
            assert picture.mode == ("1" if "_mask" in name else "L")
    assert not np.asarray(Image.open(root / "normal" / "normal (1)_mask.png")).any()


def test_files_hold_the_phantoms(tmp_path: Path) -> None:
    root = write_phantom_dataset(tmp_path / "set", **SMALL, seed=2)
    p = make_phantom("benign", 2_000_001, (64, 72))
    np.testing.assert_array_equal(np.asarray(Image.open(root / "benign" / "benign (2).png")), p.image)
    np.testing.assert_array_equal(np.asarray(Image.open(root / "benign" / "benign (2)_mask.png")), p.masks[0])


def test_marker_says_what_this_is(tmp_path: Path) -> None:
    root = write_phantom_dataset(tmp_path / "set", **SMALL, seed=7)
    lines = (root / SYNTHETIC_MARKER).read_text().splitlines()
    assert {f"generator version: {PHANTOM_VERSION}", "seed: 7", "benign: 2", "malignant: 1", "normal: 1"} <= set(lines)
    assert "synthetic" in " ".join(lines) and "says anything about patients" in " ".join(lines)
    assert is_synthetic(root) and not is_synthetic(tmp_path) and not is_synthetic(tmp_path / "absent")


def test_same_data_set_is_left_untouched_and_others_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_phantom_dataset(tmp_path / "set", **SMALL)
    before, times = contents(root), {f: f.stat().st_mtime_ns for f in root.rglob("*")}
    monkeypatch.setattr(dataset, "make_phantom", lambda *_: pytest.fail("drawn again"))
    assert write_phantom_dataset(root, **SMALL) == root
    with pytest.raises(FileExistsError, match="seed: 1"):
        write_phantom_dataset(root, **SMALL, seed=1)
    with pytest.raises(FileExistsError, match="benign: 3"):
        write_phantom_dataset(root, **{**SMALL, "benign": 3})
    with pytest.raises(FileExistsError, match="size"):
        write_phantom_dataset(root, **{**SMALL, "size": None})
    monkeypatch.setattr(dataset, "PHANTOM_VERSION", "next")
    with pytest.raises(FileExistsError, match="generator version: next"):
        write_phantom_dataset(root, **SMALL)
    assert contents(root) == before
    assert {f: f.stat().st_mtime_ns for f in root.rglob("*")} == times


def test_echogenicity_is_part_of_what_a_data_set_is(tmp_path: Path) -> None:
    dark = write_phantom_dataset(tmp_path / "dark", **SMALL)
    mixed = write_phantom_dataset(tmp_path / "mixed", **SMALL, echogenicity="mixed")
    assert contents(dark) != contents(mixed)
    with pytest.raises(FileExistsError, match=r"\(echogenicity of the lesions: mixed\)"):
        write_phantom_dataset(dark, **SMALL, echogenicity="mixed")
    with pytest.raises(FileExistsError, match=r"\(not echogenicity of the lesions: mixed\)"):
        write_phantom_dataset(mixed, **SMALL)


def test_a_data_set_that_lost_an_image_is_reported(tmp_path: Path) -> None:
    root = write_phantom_dataset(tmp_path / "set", **SMALL)
    (root / "benign" / "benign (2).png").unlink()
    with pytest.raises(FileExistsError, match="lacks 1 of its 2 benign"):
        write_phantom_dataset(root, **SMALL)


@pytest.mark.parametrize("kind", ["folder", "empty folder", "file", "dangling link"])
def test_foreign_root_is_refused_and_unchanged(tmp_path: Path, kind: str) -> None:
    root = tmp_path / "mine"
    if kind == "file":
        root.write_text("notes")
    elif kind == "dangling link":
        root.symlink_to(tmp_path / "nowhere")
    else:
        root.mkdir()
        if kind == "folder":
            (root / "patient.png").write_bytes(b"x")
    before = sorted(str(f) for f in tmp_path.rglob("*"))
    with pytest.raises(FileExistsError, match=r"mine.*not a phantom data set"):
        write_phantom_dataset(root, **SMALL)
    assert sorted(str(f) for f in tmp_path.rglob("*")) == before


def test_a_failure_half_way_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def fail_at_third(*args: object, **options: object) -> object:
        calls.append(args)
        assert not (tmp_path / "set").exists(), "the root appeared before it was complete"
        if len(calls) == 3:
            raise OSError(28, "No space left on device")
        return make_phantom(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(dataset, "make_phantom", fail_at_third)
    with pytest.raises(OSError, match="No space left"):
        write_phantom_dataset(tmp_path / "set", **SMALL)
    assert len(calls) == 3 and not list(tmp_path.iterdir())


def test_unwritable_parent_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, *args: object, **kwargs: object) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(PermissionError, match=r"locked.*Permission denied.*may write to"):
        write_phantom_dataset(tmp_path / "locked" / "set", **SMALL)


def test_parent_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"can.t create.*file"):
        write_phantom_dataset(tmp_path / "file" / "set", **SMALL)


@pytest.mark.parametrize(
    "wrong",
    [
        {"benign": -1},
        {"seed": -1},
        {"benign": 0, "malignant": 0, "normal": 0},
        {"benign": 10**6},
        {"size": (9, 9)},
        {"echogenicity": "x"},
    ],
)
def test_wrong_arguments_create_nothing(tmp_path: Path, wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"got|'x'"):
        write_phantom_dataset(tmp_path / "set", **{**SMALL, **wrong})
    assert not list(tmp_path.iterdir())


def _race(root: str, barrier: multiprocessing.synchronize.Barrier, results: multiprocessing.queues.Queue) -> None:
    write = dataset._write

    def write_then_meet(*args: object) -> None:
        write(*args)  # type: ignore[arg-type]
        barrier.wait(timeout=30)  # both hold a complete copy before either renames it

    dataset._write = write_then_meet  # type: ignore[assignment]
    try:
        results.put(str(write_phantom_dataset(root, **SMALL)))
    except BaseException as error:
        results.put(repr(error))


def test_two_processes_racing_both_succeed(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(2), context.Queue()
    root = tmp_path / "set"
    workers = [context.Process(target=_race, args=(str(root), barrier, results)) for _ in range(2)]
    for worker in workers:
        worker.start()
    answers = [results.get(timeout=60) for _ in workers]
    for worker in workers:
        worker.join(timeout=10)
    assert answers == [str(root)] * 2
    assert os.listdir(tmp_path) == ["set"], "the loser left its copy behind"
    assert contents(root) == contents(write_phantom_dataset(tmp_path / "alone", **SMALL))
