import csv
import json

import nibabel
import numpy as np
import pytest
import torch
from hybrid_attention.data import image_datalist
from hybrid_attention.deploy import SaveDicom
from hybrid_attention.deploy.save_predictions import SavePredictions
from ignite.engine import Engine
from PIL import Image

from tests.data.dicom_files import region, write_dicom

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


def predicted(images, masks, out, probabilities=None, **settings):
    """Run the handler over masks as an evaluator would, and return the two tables."""
    batch = [{"case_id": path.name, "source": str(path)} for path in images]
    outputs = [
        {"pred": torch.from_numpy(mask)[None], "probability": torch.from_numpy(mask.astype(np.float32))[None]}
        for mask in masks
    ]
    for output, values in zip(outputs, probabilities or [], strict=probabilities is not None):
        output["class_probability"] = torch.tensor(values)
    engine = Engine(lambda engine, data: outputs)
    SavePredictions(out, **settings).attach(engine)
    engine.run([batch])
    with open(out / "predictions.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    return rows, json.loads((out / "predictions.json").read_text())


def box(width, height):
    mask = np.zeros((40, 60), dtype=np.uint8)
    mask[10 : 10 + height, 20 : 20 + width] = 1
    return mask


def test_measures_in_both_tables(images, tmp_path):
    rows, typed = predicted(images, [box(20, 25), box(20, 25)], tmp_path / "out", pdf="a model")
    assert list(rows[0])[:7] == list(typed[0])[:7] == FIRST
    names = ("unit", "lesion_width", "lesion_height", "computed_orientation", "lesion_pixels")
    assert [rows[0][name] for name in names] == ["pixel", "20.0", "25.0", "not parallel", "500"]
    assert [typed[1][name] for name in (*names, "largest_area")] == ["mm", 4.0, 2.5, "parallel", 500, 10.0]
    assert "predicted_class" not in rows[0]
    assert (tmp_path / "out" / "predictions.pdf").read_bytes().count(b"/Type /Page ") == 2


def test_pixels_that_are_not_square(tmp_path):
    """Twice as tall as wide: 35 across and 13 down are as wide as 35 and as tall as 26."""
    pytest.importorskip("pydicom", reason="the extra `dicom` is not installed")
    file = write_dicom(tmp_path / "a.dcm", np.eye(40, 60, dtype=np.uint8), PixelAspectRatio=[2, 1])
    _, (row,) = predicted([file], [box(35, 13)], tmp_path / "out")
    assert (row["unit"], row["total_area"]) == ("pixel", 35 * 13)
    assert row["width_to_height"] == pytest.approx(35 / 26, abs=1e-4)
    assert row["lesion_width"] == pytest.approx(35 / 2**0.5, abs=1e-4)
    with Image.open(tmp_path / "out" / "a_mask.png") as mask:  # as the file stores its pixels
        assert mask.size == (60, 40) and sum(mask.tobytes()) == 255 * 35 * 13


def test_no_lesion_is_empty_in_csv_and_null_in_json(images, tmp_path):
    rows, typed = predicted(images[:1], [box(0, 0)], tmp_path / "out")
    names = ("lesions", "total_area", "long_axis", "computed_orientation")
    assert [rows[0][name] for name in names] == ["0", "0.0", "", ""]
    assert typed[0]["long_axis"] is None and typed[0]["total_area"] == 0
    assert not (tmp_path / "out" / "predictions.pdf").exists()


def test_classes(images, tmp_path):
    settings = {"probabilities": [(0.2, 0.7, 0.1), (0.5, 0.3, 0.2)], "class_names": ["benign", "malignant", "normal"]}
    rows, typed = predicted(images, [box(5, 5), box(0, 0)], tmp_path / "out", **settings)
    assert [row["predicted_class"] for row in rows] == ["malignant", "benign"]
    assert [typed[0][f"probability_{name}"] for name in settings["class_names"]] == [0.2, 0.7, 0.1]


def test_expected_dice_and_uncertainty(images, tmp_path):
    """In the box 0.75, else 0: the mask is expected to be right in three pixels of four."""
    mask = box(20, 25)
    chance = torch.from_numpy(mask * np.float32(0.75))[None]
    batch = [{"case_id": path.name, "source": str(path)} for path in images]
    outputs = [{"pred": torch.from_numpy(mask)[None], "probability": chance, "doubt": chance / 3} for _ in images]
    engine = Engine(lambda engine, data: outputs)
    SavePredictions(tmp_path / "out", uncertainty_key="doubt").attach(engine)
    engine.run([batch])
    rows = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert [row["expected_dice"] for row in rows] == [pytest.approx(2 * 0.75 / 1.75, abs=1e-6)] * 2
    with Image.open(tmp_path / "out" / "plain_uncertainty.png") as picture:
        assert picture.size == (60, 40) and sorted(set(picture.tobytes())) == [0, 64]
    volume = nibabel.load(tmp_path / "out" / "spaced_uncertainty.nii.gz")
    assert volume.get_data_dtype() == np.float32 and volume.get_fdata()[25, 15, 0] == pytest.approx(0.25)
    assert not list((tmp_path / "out").glob("*_probability*"))


def test_mask_of_a_nifti_image_in_colour_is_one_slice(images, tmp_path):
    grey = np.add.outer(np.arange(60), np.arange(40)).astype(np.uint8)
    colour = tmp_path / "colour.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.stack([grey] * 3, axis=-1)[:, :, None, None], np.eye(4)), colour)
    predicted([colour], [box(3, 2)], tmp_path / "out")
    mask = nibabel.load(tmp_path / "out" / "colour_mask.nii.gz")
    assert mask.shape == (60, 40, 1)
    np.testing.assert_array_equal(mask.get_fdata()[..., 0].T, box(3, 2))


RAMP = np.arange(91, dtype=np.uint8).reshape(7, 13)  # a frame


def test_dicom_files_have_segmentations_and_reports(tmp_path):
    highdicom = pytest.importorskip("highdicom", reason="the extra `dicom` is not installed")
    from pydicom import dcmread

    folder, out = tmp_path / "images", tmp_path / "out"
    (folder / "b").mkdir(parents=True)
    tissue = [region(3, 1, 6, 5)]  # four columns from 3, five rows from 1
    write_dicom(folder / "b" / "cine.dcm", np.stack([RAMP] * 3), NumberOfFrames=3, regions=tissue)
    write_dicom(folder / "still.dcm", RAMP, regions=tissue)
    write_dicom(folder / "unmarked.dcm", RAMP, regions=tissue)
    Image.fromarray(RAMP[:5, :4]).save(folder / "picture.png")
    cases = image_datalist(folder)
    marks = {"b/cine.dcm#2": (0, 0), "b/cine.dcm#3": (4, 3), "still.dcm": (2, 1), "picture.png": (0, 0)}

    def outputs(case):
        made = torch.zeros(1, 5, 4, dtype=torch.uint8)
        if case["case_id"] in marks:
            made[0, marks[case["case_id"]][0], marks[case["case_id"]][1]] = 1
        return {"pred": made, "class_probability": torch.tensor([0.25, 0.75])}

    engine = Engine(lambda engine, batch: [outputs(case) for case in batch])
    handler = SaveDicom(out, report=True, class_names=["benign", "malignant"])
    handler.attach(engine)
    engine.run([cases[:2], cases[2:]])  # a loop that goes on in the next batch
    assert sorted(path.relative_to(out).as_posix() for path in out.rglob("*.dcm")) == [
        "b/cine_report.dcm",
        "b/cine_segmentation.dcm",
        "still_report.dcm",
        "still_segmentation.dcm",
    ]
    assert (len(handler.written), handler.without_lesion, handler.others) == (2, 1, 1)
    seg = highdicom.seg.segread(out / "b" / "cine_segmentation.dcm")
    pixels = seg.get_pixels_by_source_frame(dcmread(folder / "b" / "cine.dcm").SOPInstanceUID, [2, 3])[..., 0]
    assert np.argwhere(pixels).tolist() == [[0, 1, 3], [1, 5, 6]]  # frame, row, column
    report = highdicom.sr.srread(out / "b" / "cine_report.dcm").content
    assert len(report.get_planar_roi_measurement_groups()) == 2
    for group in report.get_image_measurement_groups():
        assert [measure.value for measure in group.get_measurements()] == [25, 75]


def test_a_segmentation_of_the_same_run_is_not_overwritten(tmp_path):
    pytest.importorskip("highdicom", reason="the extra `dicom` is not installed")
    write_dicom(tmp_path / "a.dcm", RAMP)
    write_dicom(tmp_path / "a.dicom", np.stack([RAMP] * 2), NumberOfFrames=2)
    engine = Engine(lambda engine, batch: [{"pred": torch.ones(7, 13)} for _ in batch])
    SaveDicom(tmp_path / "out").attach(engine)
    with pytest.raises(ValueError, match=r"of .*a.dicom would overwrite .*a_segmentation.dcm"):
        engine.run([image_datalist(tmp_path)])
