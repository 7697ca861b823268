"""Smoothing and tracks by hand; loops of a moving phantom through the model and the command."""

import csv
import weakref

import numpy as np
import pytest
from hybrid_attention.cli import main
from hybrid_attention.data.images import GreyImage
from hybrid_attention.phantoms import make_phantom
from hybrid_attention.prediction.loops import GAP, Tracker, smooth
from hybrid_attention.prediction.result import Result
from PIL import Image

from tests.data.dicom_files import region, write_dicom
from tests.data.videos import write_video


def result(probability, benign=0.5, spacing=None):
    probability = np.asarray(probability, np.float32)
    image = GreyImage(np.arange(probability.size, dtype=np.uint8).reshape(probability.shape), spacing=spacing)
    return Result(image, probability >= 0.5, probability, {"benign": benign, "malignant": 1 - benign})


def drawn(*rows, chance=0.8, **options):
    """A frame: # is lesion with a probability of 0.8."""
    return result([[chance if letter == "#" else 0 for letter in row] for row in rows], **options)


def half(probability):
    return probability >= 0.5


def tracked(*frames):
    tracker = Tracker()
    for frame in frames:
        tracker.add(frame)
    return tracker.loop()


@pytest.mark.parametrize(
    ("frames", "expected"),
    [(1, [0.9, 0.3, 0.6, 0.0]), (3, [0.6, 0.6, 0.3, 0.3]), (5, [0.6, 0.45, 0.45, 0.3]), (7, [0.45] * 4)],
)
def test_means_over_frames_by_hand(frames, expected):
    """Of fewer frames at the ends."""
    found = list(smooth([result([[chance]], chance) for chance in (0.9, 0.3, 0.6, 0.0)], frames, decide=half))
    assert [float(one.probability[0, 0]) for one in found] == pytest.approx(expected)
    assert [one.classes["benign"] for one in found] == pytest.approx(expected)
    assert [bool(one.mask[0, 0]) for one in found] == [chance >= 0.5 for chance in expected]


def test_frames_are_not_kept():
    alive, tracker = weakref.WeakSet(), Tracker()

    def frames(count):
        for step in range(count):
            made = drawn("".join("#" if column == step % 40 else "." for column in range(40)))  # a new track each time
            alive.add(made)
            yield made

    assert max(len(alive) for _ in smooth(frames(50), 5, decide=half)) <= 6
    for made in frames(300):
        tracker.add(made)
    del made
    assert len(alive) <= GAP + 4  # the tracks that may go on, the first frame, the best track that ended


def test_frames_of_different_sizes():
    sizes = [result(np.ones((2, 2))), result(np.ones((2, 3)))]
    for function in (lambda frames: list(smooth(frames, 3, decide=half)), lambda frames: tracked(*frames)):
        with pytest.raises(ValueError, match=r"differ in size: \(2, 2\) and \(2, 3\)"):
            function(sizes)
    with pytest.raises(ValueError, match="at least one frame"):
        tracked()


def test_a_lesion_that_moves_beside_a_larger_one_of_one_frame():
    loop = tracked(
        drawn("##......", "##......", "........"),
        drawn(".###....", ".###....", "........"),
        drawn("..##.###", "..##.###", ".....###"),
        drawn("...##...", "........", "........"),
    )
    assert loop.areas == {1: 4, 2: 6, 3: 4, 4: 2}
    np.testing.assert_array_equal(loop.lesion, loop.best.mask)
    row = loop.row()
    assert (row["frames"], row["frames_with_lesion"], row["best_frame"]) == (4, 4, 2)
    assert (row["median_area"], row["min_area"], row["max_area"]) == (4, 2, 6)
    assert (row["largest_area"], row["lesion_width"], row["lesion_height"], row["unit"]) == (6, 3, 2, "pixel")


def test_the_best_frame_is_the_largest_section_that_is_sure():
    loop = tracked(
        drawn("###", "###", chance=0.5),  # 6 * 0.5
        drawn("##.", "##.", chance=0.9),  # 4 * 0.9
        drawn("##.", "##.", chance=0.8),
    )
    assert loop.best_frame == 2
    assert loop.row()["expected_dice"] == pytest.approx(0.9 * 2 * 4 / (4 + 3.6))


@pytest.mark.parametrize(
    ("rows", "areas"),
    [
        (("#######", "##.####", "##....."), {1: 7, 2: 4}),  # one splits: the part with more common pixels continues
        (("###.##.", "###.##.", "######."), {1: 3, 2: 3, 3: 6}),  # two merge
        (("##", *[".."] * GAP, "##"), {1: 2, GAP + 2: 2}),  # missed for some frames
        (("##", *[".."] * (GAP + 1), "##"), {1: 2}),
    ],
)
def test_tracks(rows, areas):
    assert tracked(*map(drawn, rows)).areas == areas


def test_row_of_a_lesion_beside_another_in_millimetres():
    """Measures are of the lesion alone, classes means over the frames with it."""
    rows, spacing = ("##..###", "##.....", "##....."), (0.5, 0.2)
    sections = [drawn(*rows, benign=benign, spacing=spacing) for benign in (0.1, 0.4)]
    loop = tracked(drawn(*["." * 7] * 3, benign=0.9, spacing=spacing), *sections)
    assert loop.best.mask.sum() == 9 and loop.lesion.sum() == 6
    row = loop.row()
    assert row["median_area"] == row["largest_area"] == pytest.approx(6 * 0.1)
    assert (row["lesion_width"], row["lesion_height"], row["unit"]) == (0.4, 1.5, "mm")
    assert (row["predicted_class"], row["probability_benign"]) == ("malignant", 0.25)


def test_no_lesion():
    loop = tracked(drawn("..", benign=0.9), drawn("..", benign=0.7))
    assert loop.best_frame is None and not loop.lesion.any() and loop.areas == {}
    assert loop.classes["benign"] == pytest.approx(0.8)
    row, other = loop.row(), tracked(drawn("##")).row()
    assert list(row) == list(other)  # columns of one table
    assert [row[name] for name in ("best_frame", "median_area", "long_axis", "expected_dice")] == [None] * 4
    assert row["frames_with_lesion"] == 0


@pytest.fixture(scope="module")
def moving():
    """A phantom's lesion that moves by two pixels per frame, with noise: frames and masks, (20, 96, 128)."""
    phantom = make_phantom("malignant", 0, (96, 180), annotations=False)
    noise = np.random.default_rng(0)
    frames = [phantom.image[:, 2 * step : 2 * step + 128] + noise.normal(0, 12, (96, 128)) for step in range(20)]
    truth = [phantom.masks[0][:, 2 * step : 2 * step + 128] for step in range(20)]
    return np.stack(frames).clip(0, 255).astype(np.uint8), np.stack(truth)


def rows_of(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_a_moving_phantom_through_the_model_and_the_command(model, moving, tmp_path):
    frames, truth = moving
    loop, rough = model.predict_loop(frames, smoothing=5), model.predict_loop(list(frames))
    assert loop.frames == 20 and len(loop.areas) >= 18
    true = truth[loop.best_frame - 1]
    assert 2 * (loop.lesion & true).sum() / (loop.lesion.sum() + true.sum()) > 0.7
    assert np.abs(np.diff(list(loop.areas.values()))).sum() < np.abs(np.diff(list(rough.areas.values()))).sum()

    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    tissue = [region(0, 0, 127, 95, delta=(0.01, 0.01))]
    write_dicom(folder / "a.dcm", frames, regions=tissue, NumberOfFrames=20)
    write_video(folder / "b.mkv", frames, "ffv1", "gray")
    Image.fromarray(frames[0]).save(folder / "c.png")
    assert main(["predict", str(folder), "--out", str(out), "--smooth", "5"]) == 0
    assert len(rows_of(out / "predictions.csv")) == 41
    expected = loop.row()
    dicom, video = rows_of(out / "loops.csv")
    assert (dicom["file"], video["file"]) == ("a.dcm", "b.mkv")
    for name in set(expected) - {"frames_per_second"}:
        assert video[name] == str(expected[name]), name
    assert float(video["frames_per_second"]) > 0
    assert (dicom["best_frame"], dicom["unit"]) == (video["best_frame"], "mm")
    assert float(dicom["long_axis"]) == pytest.approx(expected["long_axis"] / 10, rel=0.02)
    assert float(dicom["median_area"]) == pytest.approx(expected["median_area"] / 100, rel=0.02)
    # the loop on its own by path, and a call without a loop
    assert str(model.predict_loop(folder / "a.dcm", smoothing=5).row()["long_axis"]) == dicom["long_axis"]
    assert main(["predict", str(folder / "c.png"), "--out", str(out)]) == 0
    assert not (out / "loops.csv").exists()


def test_frames_without_grey_values_keep_the_numbers_of_the_others(model, moving, tmp_path):
    frames = moving[0][:4].copy()
    frames[0] = 0
    write_video(tmp_path / "a.mkv", frames, "ffv1", "gray")
    loop = model.predict_loop(tmp_path / "a.mkv")
    assert loop.frames == 3 and set(loop.areas) <= {2, 3, 4}
    with pytest.raises(ValueError, match=r"none\.mkv"):
        model.predict_loop(tmp_path / "none.mkv")


def test_torch_smooths_and_tracks_too(moving, tmp_path, capsys):
    path, out = write_dicom(tmp_path / "a.dcm", moving[0][:3], NumberOfFrames=3), tmp_path / "out"
    words = ["predict", str(path), "--out", str(out), "--smooth"]
    for more, message in (
        (["4"], "odd number of frames, as 5, got 4"),
        (["3", "--frames", "1", "3"], "needs all frames of a loop"),
    ):
        assert main(words + more) == 1
        assert message in capsys.readouterr().err
    assert not out.exists()
    assert main([*words, "3", "--backend", "torch", "--outputs", "mask", "probability"]) == 0
    (row,) = rows_of(out / "loops.csv")
    assert (row["file"], row["frames"]) == ("a.dcm", "3")
    best = rows_of(out / "predictions.csv")[int(row["best_frame"]) - 1]
    assert (row["largest_area"], row["long_axis"]) == (best["largest_area"], best["long_axis"])
    smoothed = np.asarray(Image.open(out / "a#2_probability.png")) / 255
    mask, clear = np.asarray(Image.open(out / "a#2_mask.png")) > 0, abs(smoothed - 0.5) > 0.02
    np.testing.assert_array_equal(mask[clear], (smoothed >= 0.5)[clear])
