import functools
import re

import numpy as np
import pytest
from hybrid_attention.data.datasets import SYNTHETIC_MARKER, is_synthetic
from hybrid_attention.phantoms import dataset, make_phantom, write_phantom_dataset
from hybrid_attention.phantoms.physics import speckle_envelope
from hybrid_attention.phantoms.tissue import ECHOGENICITY
from PIL import Image
from scipy import ndimage

SIZE = (176, 208)


@functools.cache
def phantoms(label, echogenicity="hypoechoic", count=32):
    options = {"annotations": False, "echogenicity": echogenicity}
    return [make_phantom(label, seed, SIZE, **options) for seed in range(count)]


def rng(seed=0):
    return np.random.Generator(np.random.PCG64(seed))


def contrast(p):
    """Grey levels of the first lesion minus those in a ring around the lesions."""
    lesion = np.any(p.masks, axis=0)
    ring = ndimage.binary_dilation(lesion, iterations=12) & ~ndimage.binary_dilation(lesion, iterations=3)
    return float(p.image[p.masks[0]].mean() - p.image[ring].mean())


@pytest.mark.parametrize("beam", [1.5, np.linspace(1.0, 3.0, 512)])
def test_one_look_in_homogeneous_tissue_is_rayleigh(beam):
    envelope = speckle_envelope(np.full((512, 512), -20.0), rng(), lateral_sigma=beam)
    assert envelope.mean() / envelope.std() == pytest.approx(np.sqrt(np.pi / (4 - np.pi)), rel=0.03)
    assert 10 * np.log10(np.mean(envelope**2)) == pytest.approx(-20, abs=0.2)
    # four looks double the ratio, and a coherent reflector has the level asked for and no speckle
    several = speckle_envelope(np.zeros((384, 384)), rng(), lateral_sigma=1.5, looks=4)
    assert several.mean() / several.std() == pytest.approx(2 * 1.913, rel=0.04)
    coherent = speckle_envelope(np.full((128, 128), -6.0), rng(), coherence=1.0)[20:-20, 20:-20]
    np.testing.assert_allclose(coherent, 10 ** (-6 / 20), rtol=1e-3)


def test_the_point_spread_function_is_the_pulse_and_the_widening_beam():
    points = np.full((200, 121), -400.0)
    points[[50, 150], 60] = 0
    beam = np.where(np.arange(200) < 100, 1.5, 4.0)
    envelope = speckle_envelope(points, rng(), coherence=1.0, axial_sigma=2.0, lateral_sigma=beam)
    for profile, sigma in ((envelope[50, 40:81], 1.5), (envelope[150, 40:81], 4), (envelope[140:161, 60], 2)):
        x = np.arange(profile.size) - profile.size // 2
        assert np.sqrt(np.sum(profile * x**2) / profile.sum()) == pytest.approx(sigma, rel=0.02)


def test_same_seed_same_bytes_other_seed_or_label_other_image():
    drawn = [(label, seed) for label in dataset.PHANTOM_LABELS for seed in (3, 4)]
    first, again = ([make_phantom(*one, (96, 112)) for one in drawn] for _ in range(2))
    for index, one in enumerate(first):
        np.testing.assert_array_equal([one.image, *one.masks], [again[index].image, *again[index].masks])
        assert all((one.image != other.image).mean() > 0.5 for other in first[:index])


@pytest.mark.parametrize("label", ["benign", "malignant"])
def test_lesions_lie_in_the_image_apart_and_in_one_piece_and_are_dark(label):
    for p in phantoms(label):
        assert p.image.dtype == np.uint8 and p.image.shape == SIZE and p.label == label
        assert np.sum(p.masks, axis=0).max() == 1, "lesions overlap"
        for mask in p.masks:
            assert mask.dtype == bool and mask.shape == SIZE and 0.001 < mask.mean() < 0.4
            assert ndimage.label(mask)[1] == 1
            assert not np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]]).any(), "it touches the border"
    counts = [len(p.masks) for p in phantoms(label)]
    assert {*counts} == {1, 2} and counts.count(2) <= 10
    differences = np.array([contrast(p) for p in phantoms(label)])
    assert differences.mean() < -30 and (differences < 0).mean() > 0.9
    assert (differences > -30).any(), "every lesion is plain to see: the task is trivial"


def test_areas_are_distributed_as_in_busi():
    benign, malignant = ([p.masks[0].mean() for p in phantoms(label)] for label in ("benign", "malignant"))
    assert 0.02 < np.median(benign) < 0.075 and 0.07 < np.median(malignant) < 0.17
    assert min(benign) < 0.015 and max(malignant) > 0.2


def test_mixed_echogenicity_has_lesions_that_are_no_darker_in_the_same_places(monkeypatch):
    dark, mixed = phantoms("malignant"), phantoms("malignant", "mixed")
    for one, other in zip(dark, mixed, strict=True):
        np.testing.assert_array_equal(one.masks, other.masks)
    contrasts = np.array([contrast(p) for p in mixed])
    assert (contrasts > 10).sum() >= 3 and (abs(contrasts) < 10).sum() >= 3  # bright and isoechoic lesions
    assert 0.2 < np.mean([np.array_equal(a.image, b.image) for a, b in zip(dark, mixed, strict=True)]) < 0.8
    monkeypatch.setitem(ECHOGENICITY, "mixed", {"hilum": 1.0})
    for p in phantoms("malignant", "mixed", 4):
        depth = ndimage.distance_transform_edt(p.masks[0])
        centre, rim = depth > 0.75 * depth.max(), p.masks[0] & (depth < 0.4 * depth.max())
        assert p.image[centre].mean() > p.image[rim].mean() + 20  # bright in a dark rim


def test_arguments():
    normal = [make_phantom("normal", seed) for seed in range(4)]
    shapes = [one.image.shape for one in normal]
    assert len(set(shapes)) == 4 and not any(one.masks for one in normal)
    assert all(300 <= max(shape) <= 520 and min(shape) >= 180 for shape in shapes)  # as in BUSI
    for size in ((64, 64), (64, 300), (301, 65)):
        p = make_phantom("malignant", 1, size)
        assert p.image.shape == p.masks[0].shape == size and p.masks[0].any()
    wrong = {"label": "cyst", "seed": -1, "size": (63, 100), "echogenicity": "bright"}
    for name, value in wrong.items():
        with pytest.raises(ValueError, match=f"got {re.escape(repr(value))}"):
            make_phantom(**{"label": "benign", "seed": 0, name: value})


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
    assert is_synthetic(root) and not is_synthetic(tmp_path) and not is_synthetic(tmp_path / "absent")


def test_same_data_set_is_left_untouched_and_others_are_refused(tmp_path, monkeypatch):
    root = write_phantom_dataset(tmp_path / "set", **SMALL)
    before, times = contents(root), {f: f.stat().st_mtime_ns for f in root.rglob("*")}
    monkeypatch.setattr(dataset, "make_phantom", lambda *_: pytest.fail("drawn again"))
    assert write_phantom_dataset(root, **SMALL) == root
    for name, value in {"seed": 1, "benign": 3, "size": None, "echogenicity": "mixed"}.items():
        with pytest.raises(FileExistsError, match=f"{name}.*: {value or 'varied'}"):
            write_phantom_dataset(root, **{**SMALL, name: value})
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
