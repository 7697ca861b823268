"""DICOM reports: what they hold, read back by highdicom, and what dsrdump and a validator say."""

import shutil
import subprocess

import hybrid_attention
import numpy as np
import pytest
from hybrid_attention.deploy import write_dicom_report, write_dicom_segmentation

from tests.data.dicom_files import region, write_dicom

highdicom = pytest.importorskip("highdicom", reason="the extra `dicom` is not installed")

TISSUE = [region(0, 0, 59, 39)]  # pixels of 0.1 mm across and 0.2 mm down
CLASSES = {"benign": 0.2, "malignant": 0.7123, "normal": 0.0877}


def box(left, top, width, height):
    mask = np.zeros((40, 60), dtype=np.uint8)
    mask[top : top + height, left : left + width] = 1
    return mask


LARGE, SMALL = box(5, 5, 20, 15), box(40, 10, 10, 2)


def written(folder, masks, classes=None, frames=None, **settings):
    """Return source, segmentation and report of a file, read back."""
    from pydicom import dcmread

    shape = (40, 60) if frames is None else (frames, 40, 60)
    several = {} if frames is None else {"NumberOfFrames": frames}
    source = write_dicom(folder / "source.dcm", np.zeros(shape, np.uint8), **several, **settings)
    seg = write_dicom_segmentation(folder / "seg.dcm", source, masks)
    write_dicom_report(folder / "report.dcm", source, seg, masks, classes)
    return dcmread(source), highdicom.seg.segread(folder / "seg.dcm"), highdicom.sr.srread(folder / "report.dcm")


def values(group):
    return {measure.name.meaning: (measure.value, measure.unit.value) for measure in group.get_measurements()}


def references(group):
    """Return what the images of a group are for, and the instance and frame they refer to."""
    found = {}
    for item in group[0].ContentSequence:
        if item.ValueType == "IMAGE":
            (reference,) = item.ReferencedSOPSequence
            frame = reference.get("ReferencedFrameNumber")
            found[item.ConceptNameCodeSequence[0].CodeMeaning] = (reference.ReferencedSOPInstanceUID, frame)
    return found


def test_lesions_of_a_still_image(tmp_path):
    """20 x 15 pixels are 2 mm across and 3 mm deep, 10 x 2 pixels are 1 mm across and 0.4 mm deep."""
    source, seg, report = written(tmp_path, {1: LARGE | SMALL}, {1: CLASSES}, regions=TISSUE)
    large, small = report.content.get_planar_roi_measurement_groups()
    assert [group.tracking_identifier for group in (large, small)] == ["Lesion 1", "Lesion 2"]
    assert large.tracking_uid != small.tracking_uid
    assert values(large)["Area"] == (6, "mm2") and values(small)["Area"] == (0.4, "mm2")
    assert values(large)["Long axis"][0] == pytest.approx(np.hypot(2, 3), abs=0.2)
    assert values(large)["Short axis"] == (2, "mm") and values(small)["Short axis"] == (0.4, "mm")
    assert values(large)["Angle of the long axis to the skin"] == (90, "deg")
    orientations = []
    for number, group in enumerate((large, small), start=1):
        assert group.finding_type.value == "52988006"  # lesion
        assert [site.value.value for site in group.finding_sites] == ["76752008"]  # breast
        (orientation,) = [one for one in group.get_qualitative_evaluations() if one.name.value == "111354"]
        orientations.append((orientation.value.scheme_designator, orientation.value.value))
        assert references(group) == {
            "Referenced Segmentation Frame": (seg.SOPInstanceUID, number),
            "Source Image for Segmentation": (source.SOPInstanceUID, None),
        }
    assert orientations == [("DCM", "111356"), ("DCM", "111355")]  # not parallel, parallel
    np.testing.assert_array_equal(seg.pixel_array, [LARGE, SMALL])
    for name in ("StudyInstanceUID", "PatientID", "PatientName"):
        assert report[name].value == source[name].value, name
    assert report.VerificationFlag == "UNVERIFIED" and report.SeriesInstanceUID != seg.SeriesInstanceUID


def test_classes_are_the_algorithms_output_for_the_image(tmp_path):
    source, _, report = written(tmp_path, {1: LARGE | SMALL}, {1: CLASSES})
    (group,) = report.content.get_image_measurement_groups()
    concepts = {measure.name.value: measure.value for measure in group.get_measurements()}
    assert concepts == {"P_BENIGN": 20, "111047": 71.23, "P_NORMAL": 8.77}
    assert references(group) == {"Source of Measurement": (source.SOPInstanceUID, None)}
    algorithm = {
        item.ConceptNameCodeSequence[0].CodeMeaning: item.TextValue
        for item in group[0].ContentSequence
        if item.ValueType == "TEXT"
    }
    assert algorithm["Algorithm Name"] == "hybrid_attention"
    assert algorithm["Algorithm Version"] == hybrid_attention.__version__


def test_frames_of_a_loop(tmp_path):
    """Segment by segment: the large lesions of the frames 2 and 4, then the small one of frame 2."""
    source, seg, report = written(tmp_path, {4: SMALL, 1: 0 * LARGE, 2: LARGE | SMALL}, frames=4)
    groups = report.content.get_planar_roi_measurement_groups()
    assert [group.tracking_identifier for group in groups] == [
        "Frame 2, lesion 1",
        "Frame 2, lesion 2",
        "Frame 4, lesion 1",
    ]
    np.testing.assert_array_equal(seg.pixel_array, [LARGE, SMALL, SMALL])
    segments = [segment.SegmentLabel for segment in seg.SegmentSequence]
    assert segments == ["Lesion 1", "Lesion 2"]
    for group, frame, own in zip(groups, (2, 2, 4), (1, 3, 2), strict=True):
        found = references(group)
        assert found["Source Image for Segmentation"] == (source.SOPInstanceUID, frame)
        assert found["Referenced Segmentation Frame"] == (seg.SOPInstanceUID, own)
    pixels = seg.get_pixels_by_source_frame(source.SOPInstanceUID, [2])[0]
    np.testing.assert_array_equal(np.moveaxis(pixels, -1, 0), [LARGE, SMALL])
    assert values(groups[0])["Area"] == (300, "{pixels}")
    assert not report.content.get_image_measurement_groups()


def test_pixels_that_are_not_square(tmp_path):
    """Twice as tall as wide: 20 x 15 pixels are taller than wide."""
    _, _, report = written(tmp_path, {1: LARGE}, PixelAspectRatio=[2, 1])
    (group,) = report.content.get_planar_roi_measurement_groups()
    assert values(group)["Area"] == (300, "{pixels}")
    assert values(group)["Short axis"][0] == pytest.approx(20 / 2**0.5, abs=1e-4)
    assert values(group)["Angle of the long axis to the skin"] == (90, "deg")


def test_de_identified_source(tmp_path):
    from pydicom import dcmread

    source = write_dicom(tmp_path / "bare.dcm", np.zeros((40, 60), np.uint8))
    bare = dcmread(source)
    for name in ("PatientName", "PatientID", "PatientBirthDate", "StudyDate", "AccessionNumber"):
        delattr(bare, name)
    bare.save_as(source)
    seg = write_dicom_segmentation(tmp_path / "seg.dcm", source, {1: LARGE})
    write_dicom_report(tmp_path / "report.dcm", source, seg, {1: LARGE})
    assert not highdicom.sr.srread(tmp_path / "report.dcm").PatientName


@pytest.mark.parametrize("frames", [None, 4], ids=["still", "loop"])
def test_what_other_tools_say(frames, tmp_path):
    masks = {1: LARGE | SMALL} if frames is None else {2: LARGE, 4: LARGE | SMALL}
    written(tmp_path, masks, dict.fromkeys(masks, CLASSES), frames, regions=TISSUE)
    tools = {name: shutil.which(name) for name in ("dsrdump", "dciodvfy")}
    missing = [name for name, path in tools.items() if path is None]
    if missing:
        pytest.skip(f"{' and '.join(missing)} (packages dcmtk and dicom3tools) not installed")
    dumped = subprocess.run([tools["dsrdump"], tmp_path / "report.dcm"], capture_output=True, text=True)
    assert dumped.returncode == 0 and dumped.stderr == ""
    assert '"Short axis")="2.0" (mm,UCUM,"mm")' in dumped.stdout
    for name in ("report.dcm", "seg.dcm"):
        done = subprocess.run([tools["dciodvfy"], tmp_path / name], capture_output=True, text=True)
        faults = [line for line in (done.stdout + done.stderr).splitlines() if line.startswith(("Error", "Warning"))]
        assert [line for line in faults if "<99HYBRID>" not in line] == []  # a private scheme
