"""Files of predictions, written for masks that are known."""

import csv
import json
import re
from itertools import zip_longest
from pathlib import Path

import nibabel
import numpy as np
import pytest
from hybrid_attention.data.images import read_image
from hybrid_attention.prediction.model import Model
from hybrid_attention.prediction.predict_folder import ResultWriter, predict_folder
from hybrid_attention.prediction.result import Result
from PIL import Image

from tests.data.dicom_files import region, write_dicom
from tests.prediction.masks import box

FIRST = ["case_id", "mask", "overlay", "width", "height", "lesion_pixels", "lesion_area_fraction"]


@pytest.fixture
def images(tmp_path):
    """A PNG of 60 x 40 pixels and a NIfTI slice with pixels of 0.2 mm across and 0.1 mm into depth."""
    grey = np.add.outer(np.arange(60), np.arange(40)).astype(np.uint8)  # as a NIfTI file has it, (W, H)
    Image.fromarray(grey.T).save(tmp_path / "plain.png")
    volume = nibabel.Nifti1Image(grey[..., None].astype(np.float32), np.diag([0.2, 0.1, 1, 1]))
    volume.header.set_xyzt_units("mm")
    nibabel.save(volume, tmp_path / "spaced.nii.gz")
    return [tmp_path / "plain.png", tmp_path / "spaced.nii.gz"]


def predicted(images, masks, out, classes=(), chance=1.0, **settings):
    """Write masks of images, all of whose pixels have one probability, and return the two tables."""
    writer = ResultWriter(out, **settings)
    for path, mask, chances in zip_longest(images, masks, classes, fillvalue={}):
        writer.add(path.name, Result(read_image(path), mask > 0, mask * np.float32(chance), chances))
    writer.close()
    with open(out / "predictions.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    return rows, json.loads((out / "predictions.json").read_text())


def test_measures_in_both_tables(images, tmp_path):
    rows, typed = predicted(
        [*images, images[0]], [box(20, 25), box(20, 25), box(0, 0)], tmp_path / "out", pdf="a model"
    )
    assert list(rows[0])[:7] == list(typed[0])[:7] == FIRST
    names = ("unit", "lesion_width", "lesion_height", "computed_orientation", "lesion_pixels")
    assert [rows[0][name] for name in names] == ["pixel", "20.0", "25.0", "not parallel", "500"]
    assert [typed[1][name] for name in (*names, "largest_area")] == ["mm", 4.0, 2.5, "parallel", 500, 10.0]
    assert "predicted_class" not in rows[0]
    assert (tmp_path / "out" / "predictions.pdf").read_bytes().count(b"/Type /Page ") == 3
    # without a lesion measures are empty in CSV and null in JSON
    assert [rows[2][name] for name in ("lesions", "total_area", "long_axis")] == ["0", "0.0", ""]
    assert (typed[2]["total_area"], typed[2]["long_axis"], typed[2]["computed_orientation"]) == (0, None, None)


def test_pixels_that_are_not_square(tmp_path):
    """Twice as tall as wide: 35 across and 13 down are as wide as 35 and as tall as 26."""
    pytest.importorskip("pydicom", reason="the extra `dicom` is not installed")
    file = write_dicom(tmp_path / "a.dcm", np.eye(40, 60, dtype=np.uint8), PixelAspectRatio=[2, 1])
    _, (row,) = predicted([file], [box(35, 13)], tmp_path / "out", [{"benign": 0.2, "malignant": 0.8}])
    assert (row["unit"], row["total_area"]) == ("pixel", 35 * 13)
    assert row["width_to_height"] == pytest.approx(35 / 26, abs=1e-4)
    assert row["lesion_width"] == pytest.approx(35 / 2**0.5, abs=1e-4)
    assert (row["predicted_class"], row["probability_benign"]) == ("malignant", 0.2)
    with Image.open(tmp_path / "out" / "a_mask.png") as mask:  # as the file stores its pixels
        assert mask.size == (60, 40) and sum(mask.tobytes()) == 255 * 35 * 13


def test_only_what_is_asked_for_is_written(images, tmp_path, caplog):
    """In the box 0.75, else 0: the mask is expected to be right in three pixels of four, with 0.811 bit of doubt."""
    out = tmp_path / "out"
    _, typed = predicted(images, [box(20, 25)] * 2, out, chance=0.75, outputs=["mask", "uncertainty"])
    assert [row["expected_dice"] for row in typed] == [pytest.approx(2 * 0.75 / 1.75, abs=1e-6)] * 2
    assert "overlay" not in typed[0]
    with Image.open(out / "plain_uncertainty.png") as picture:
        assert picture.size == (60, 40) and sorted(set(picture.tobytes())) == [0, round(0.81128 * 255)]
    volume = nibabel.load(out / "spaced_uncertainty.nii.gz")
    assert volume.get_data_dtype() == np.float32 and volume.get_fdata()[45, 30, 0] == pytest.approx(0.81128, abs=1e-5)
    tables, plain = {"predictions.csv", "predictions.json"}, {"plain_mask.png", "plain_uncertainty.png"}
    spaced = {"spaced_mask.nii.gz", "spaced_uncertainty.nii.gz"}
    assert {path.name for path in out.iterdir()} == tables | plain | spaced
    # pictures of an earlier call are removed, those of images that this call does not predict stay
    (out / "plain_gradcam.png").touch()
    assert "earlier call" not in caplog.text
    predicted(images[:1], [box(20, 25)], out, outputs=["uncertainty"])
    assert "still holds files of 1 images of an earlier call" in caplog.text
    assert {path.name for path in out.iterdir()} == tables | {"plain_uncertainty.png"} | spaced
    predicted(images[1:], [box(20, 25)], out)
    assert {path.name for path in out.glob("spaced*")} == {"spaced_mask.nii.gz", "spaced_overlay.png"}


def test_pictures_of_the_model_are_written_or_removed(images, tmp_path):
    image, mask = read_image(images[0]), box(3, 2) > 0
    for heat in (np.full((40, 70, 3), 7, np.uint8), None):
        result = Result(image, mask, mask.astype(np.float32), pictures={"heat": heat})
        result.save(tmp_path, "plain.png", outputs=["mask", "heat"])
        assert (tmp_path / "plain_heat.png").is_file() == (heat is not None)


@pytest.mark.parametrize("outputs", ["mask", ["gradcam"], ["mask", "row"]])
def test_pictures_that_the_model_does_not_give(outputs, images, tmp_path):
    with pytest.raises(ValueError, match=re.escape(f"got {outputs!r}")):
        predict_folder(Marking({}, tmp_path), images[0], tmp_path / "out", outputs=outputs)
    assert not list((tmp_path / "out").iterdir())


def test_mask_of_a_nifti_image_in_colour_is_one_slice(tmp_path):
    grey = np.add.outer(np.arange(60), np.arange(40)).astype(np.uint8)
    nibabel.save(nibabel.Nifti1Image(np.stack([grey] * 3, axis=-1)[:, :, None, None], np.eye(4)), tmp_path / "a.nii.gz")
    predicted([tmp_path / "a.nii.gz"], [box(3, 2)], tmp_path / "out")
    mask = nibabel.load(tmp_path / "out" / "a_mask.nii.gz").get_fdata()
    np.testing.assert_array_equal(mask, box(3, 2).T[..., None])


RAMP = np.arange(91, dtype=np.uint8).reshape(7, 13)  # a frame


@pytest.fixture
def dicom():
    return pytest.importorskip("highdicom", reason="the extra `dicom` is not installed")


def cine(path, frames, **settings):
    return write_dicom(path, np.stack([RAMP] * frames), NumberOfFrames=frames, **settings)


class Marking(Model):
    """Predicts the pixels that are told for each case, with two classes."""

    def __init__(self, marks, root):
        self.name, self.threshold, self.marks, self.root = "marks", 0.5, marks, root

    def compute(self, image):
        mask = np.zeros(image.pixels.shape, bool)
        for place in self.marks.get(Path(image.source).relative_to(self.root).as_posix(), ()):
            if place is None:
                raise KeyboardInterrupt
            mask[place] = True
        return Result(image, mask, mask.astype(np.float32), {"benign": 0.25, "malignant": 0.75})


def test_dicom_files_have_segmentations_and_reports(dicom, tmp_path, caplog):
    from pydicom import dcmread

    folder, out = tmp_path / "images", tmp_path / "out"
    (folder / "b").mkdir(parents=True)
    tissue = [region(3, 1, 6, 5)]  # four columns from 3, five rows from 1
    loop = cine(folder / "b" / "cine.dcm", 3, regions=tissue)
    write_dicom(folder / "still.dcm", RAMP, regions=tissue)
    write_dicom(folder / "unmarked.dcm", RAMP, regions=tissue)
    Image.fromarray(RAMP[:5, :4]).save(folder / "picture.png")
    marks = {"b/cine.dcm#2": (0, 0), "b/cine.dcm#3": (4, 3), "still.dcm": (2, 1), "picture.png": (0, 0)}
    with caplog.at_level("INFO", "hybrid_attention"):
        predict_folder(Marking({name: [place] for name, place in marks.items()}, folder), folder, out, dicom_sr=True)
    found = sorted(path.relative_to(out).as_posix() for path in out.rglob("*.dcm"))
    assert found == [f"{name}_{what}.dcm" for name in ("b/cine", "still") for what in ("report", "segmentation")]
    assert "2 DICOM segmentations and reports" in caplog.text
    assert "none for 1 DICOM files without a lesion and 1 images of other formats" in caplog.text
    seg = dicom.seg.segread(out / "b" / "cine_segmentation.dcm")
    pixels = seg.get_pixels_by_source_frame(dcmread(loop).SOPInstanceUID, [2, 3])[..., 0]
    assert np.argwhere(pixels).tolist() == [[0, 1, 3], [1, 5, 6]]  # frame, row, column
    report = dicom.sr.srread(out / "b" / "cine_report.dcm").content
    assert len(report.get_planar_roi_measurement_groups()) == 2
    for group in report.get_image_measurement_groups():
        assert [measure.value for measure in group.get_measurements()] == [25, 75]
    predict_folder(Marking({}, folder), folder, out)  # those of the earlier run no longer hold
    assert not list(out.rglob("*.dcm"))


def test_a_lesion_that_is_tracked_keeps_its_identifier(dicom, tmp_path):
    """A lesion of two pixels, beside one of three from frame 2 on, which is the first of its frame then."""
    first, second = [(0, 0), (0, 1)], [(5, 3), (5, 4), (5, 5)]
    marks = {"a.dcm#1": first, "a.dcm#2": first + second, "a.dcm#3": second, "a.dcm#10": second}  # the last too late
    loop, frames = cine(tmp_path / "a.dcm", 10), [1, 2, 3, 10]
    predict_folder(Marking(marks, tmp_path), loop, tmp_path / "out", frames=frames, dicom_sr=True)
    groups = dicom.sr.srread(tmp_path / "out" / "a_report.dcm").content.get_planar_roi_measurement_groups()
    assert [group.tracking_identifier for group in groups] == [f"Track {number}" for number in (1, 2, 1, 2, 3)]
    one, two, again, too, late = (group.tracking_uid for group in groups)
    assert one == again and two == too and len({one, two, late}) == 3


def test_a_loop_that_is_interrupted_has_only_its_frames(dicom, tmp_path):
    for name in ("a.dcm", "b.dcm"):
        cine(tmp_path / name, 3)
    marks = {f"{name}.dcm#{number}": [(0, 0)] for name in "ab" for number in (1, 2, 3)} | {"b.dcm#3": [None]}
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        predict_folder(Marking(marks, tmp_path), tmp_path, out, dicom_sr=True)
    assert {path.name for path in out.glob("*.dcm")} == {"a_segmentation.dcm", "a_report.dcm"}
    assert len((out / "loops.csv").read_text().splitlines()) == 2
    assert len((out / "predictions.csv").read_text().splitlines()) == 1 + 3 + 2


def test_a_segmentation_of_the_same_run_is_not_overwritten(dicom, tmp_path):
    write_dicom(tmp_path / "a.dcm", RAMP)
    cine(tmp_path / "a.dicom", 2)
    marks = {name: [(0, 0)] for name in ("a.dcm", "a.dicom#1")}
    with pytest.raises(ValueError, match=r"of .*a.dicom would overwrite .*a_segmentation.dcm"):
        predict_folder(Marking(marks, tmp_path), tmp_path, tmp_path / "out", dicom_seg=True)
