import numpy as np
import pytest
from hybrid_attention.data.datasets import SYNTHETIC_MARKER, is_synthetic
from hybrid_attention.phantoms import dataset, make_phantom, write_phantom_dataset
from PIL import Image

SMALL = {"benign": 2, "malignant": 1, "normal": 1, "size": (64, 72)}


def contents(root):
    return {str(f.relative_to(root)): f.read_bytes() for f in sorted(root.rglob("*")) if f.is_file()}


def test_layout_and_contents(tmp_path):
    counts = {"benign": 2, "malignant": 12, "normal": 1}
    root = tmp_path / "new" / "set"
    assert write_phantom_dataset(root, **counts, size=(64, 72), seed=2) == root
    stems = [f"{name}/{name} ({i})" for name, count in counts.items() for i in range(1, count + 1)]
    expected = {f"{stem}{end}" for stem in stems for end in (".png", "_mask.png")} | {SYNTHETIC_MARKER}
    second = set(contents(root)) - expected
    assert second and all(name.endswith("_mask_1.png") for name in second), "two lesions somewhere among the images"
    pictures = {name: Image.open(root / name) for name in (expected | second) - {SYNTHETIC_MARKER}}
    for name, picture in pictures.items():
        assert (picture.size, picture.mode) == ((72, 64), "1" if "_mask" in name else "L")
    assert not np.asarray(pictures["normal/normal (1)_mask.png"]).any()
    phantom = make_phantom("benign", 2_000_001, (64, 72))
    np.testing.assert_array_equal(pictures["benign/benign (2).png"], phantom.image)
    np.testing.assert_array_equal(pictures["benign/benign (2)_mask.png"], phantom.masks[0])
    text = (root / SYNTHETIC_MARKER).read_text()
    assert {"seed: 2", "benign: 2", "malignant: 12", "normal: 1"} <= set(text.splitlines())
    assert "synthetic" in text and "patient" in text
    assert is_synthetic(root) and not is_synthetic(tmp_path) and not is_synthetic(tmp_path / "absent")


def test_same_data_set_is_left_untouched_and_others_are_refused(tmp_path, monkeypatch):
    root, mixed = tmp_path / "set", {**SMALL, "echogenicity": "mixed"}
    write_phantom_dataset(root, **SMALL)
    write_phantom_dataset(tmp_path / "mixed", **mixed)
    before, times = contents(root), {f: f.stat().st_mtime_ns for f in root.rglob("*")}
    monkeypatch.setattr(dataset, "make_phantom", lambda *_: pytest.fail("drawn again"))
    assert write_phantom_dataset(root, **SMALL) == root
    for name, value in {"seed": 1, "benign": 3, "size": None, "echogenicity": "mixed"}.items():
        with pytest.raises(FileExistsError, match=f"{name}.*: {value or 'varied'}"):
            write_phantom_dataset(root, **{**SMALL, name: value})
    with pytest.raises(FileExistsError, match="not echogenicity of the lesions: mixed"):
        write_phantom_dataset(tmp_path / "mixed", **SMALL)
    monkeypatch.setattr(dataset, "PHANTOM_VERSION", "next")
    with pytest.raises(FileExistsError, match="generator version: next"):
        write_phantom_dataset(root, **SMALL)
    assert contents(root) == before and {f: f.stat().st_mtime_ns for f in root.rglob("*")} == times
    monkeypatch.undo()
    (root / "benign" / "benign (2).png").unlink()
    with pytest.raises(FileExistsError, match="lacks 1 of its 2 benign"):
        write_phantom_dataset(root, **SMALL)


def test_foreign_root_is_refused_and_unchanged(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("notes")
    (tmp_path / "link").symlink_to("nowhere")
    for name in ("folder", "file", "link"):
        with pytest.raises(FileExistsError, match=name):
            write_phantom_dataset(tmp_path / name, **SMALL)
    assert {path.name for path in tmp_path.rglob("*")} == {"folder", "file", "link"}


def test_failures_leave_nothing(tmp_path, monkeypatch):
    for wrong in ({"benign": -1}, {"seed": -1}, dict.fromkeys(SMALL, 0), {"benign": 10**6}, {"size": (9, 9)}):
        with pytest.raises(ValueError, match="got"):
            write_phantom_dataset(tmp_path / "set", **{**SMALL, **wrong})
    calls = []

    def fail_at_third(*args, **options):
        calls.append(args)
        assert not (tmp_path / "set").exists(), "the root appeared before it was complete"
        if len(calls) == 3:
            raise OSError(28, "No space left on device")
        return make_phantom(*args, **options)

    monkeypatch.setattr(dataset, "make_phantom", fail_at_third)
    with pytest.raises(OSError, match=r"can't write .*set': No space left"):
        write_phantom_dataset(tmp_path / "set", **SMALL)
    assert len(calls) == 3 and not list(tmp_path.iterdir())
