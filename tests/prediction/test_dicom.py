"""DICOM segmentations and reports: what highdicom reads in them, and what dsrdump and a validator say."""

import shutil
import subprocess

import hybrid_attention
import numpy as np
import pytest
from hybrid_attention.deploy import write_dicom_report, write_dicom_segmentation

from tests.data.dicom_files import ENHANCED, EXPLICIT, JPEG, MULTI_FRAME, jpeg_frames, region, write_dicom
from tests.prediction.masks import box

highdicom = pytest.importorskip("highdicom", reason="the extra `dicom` is not installed")
pydicom = pytest.importorskip("pydicom", reason="the extra `dicom` is not installed")

SIZE = (41, 61)  # height and width of frames: 2501 pixels, no multiple of 8
TISSUE = [region(0, 0, 60, 40)]  # pixels of 0.1 mm across and 0.2 mm down
CLASSES = {"benign": 0.2, "malignant": 0.7123, "normal": 0.0877}


LARGE, SMALL = box(20, 15, SIZE, left=5), box(10, 2, SIZE, left=40, top=10)


def written(folder, masks, classes=None, frames=None, **settings):
    """Return source, segmentation and report of a file, read back."""
    several = {} if frames is None else {"NumberOfFrames": frames}
    source = write_dicom(folder / "source.dcm", np.zeros((*several.values(), *SIZE), np.uint8), **several, **settings)
    return of_source(source, masks, classes)


def of_source(source, masks, classes=None):
    folder = source.parent
    seg = write_dicom_segmentation(folder / "seg.dcm", source, masks)
    write_dicom_report(folder / "report.dcm", source, seg, masks, classes)
    read = highdicom.seg.segread(folder / "seg.dcm"), highdicom.sr.srread(folder / "report.dcm")
    return pydicom.dcmread(source), *read


def assert_valid(folder):
    """Ask dsrdump and dciodvfy, the last assertion of a test: it is skipped where they are missing."""
    tools = {name: shutil.which(name) for name in ("dsrdump", "dciodvfy")}
    if None in tools.values():
        pytest.skip(f"needs dcmtk and dicom3tools, found {tools}")
    dumped = subprocess.run([tools["dsrdump"], folder / "report.dcm"], capture_output=True, text=True)
    assert dumped.returncode == 0 and dumped.stderr == "" and '"Short axis")=' in dumped.stdout
    for name in ("report.dcm", "seg.dcm"):
        done = subprocess.run([tools["dciodvfy"], folder / name], capture_output=True, text=True)
        said = done.stdout + done.stderr
        faults = [line for line in said.splitlines() if line.startswith(("Error", "Warning"))]
        assert [line for line in faults if "<99HYBRID>" not in line] == []  # a private scheme
        assert "SR" in said or "Segmentation" in said  # it knew what it looked at


def code(sequence):
    return sequence[0].CodeValue, sequence[0].CodingSchemeDesignator


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


def test_a_still_image(tmp_path):
    """20 x 15 pixels are 2 mm across and 3 mm deep, 10 x 2 pixels are 1 mm across and 0.4 mm deep."""
    source, seg, report = written(tmp_path, {1: LARGE | SMALL}, {1: CLASSES}, regions=TISSUE)
    np.testing.assert_array_equal(seg.pixel_array, [LARGE, SMALL])  # a segment for each lesion, the larger one first
    for name in ("StudyInstanceUID", "PatientID", "PatientName", "AccessionNumber", "StudyDate"):
        assert source[name].value == seg[name].value == report[name].value, name
    assert seg.FrameOfReferenceUID == source.FrameOfReferenceUID
    assert len({one.SeriesInstanceUID for one in (source, seg, report)}) == 3
    assert (seg.SegmentationType, seg.BitsAllocated, seg.Modality) == ("BINARY", 1, "SEG")
    assert seg.file_meta.TransferSyntaxUID == EXPLICIT
    reference = seg.ReferencedSeriesSequence[0]
    assert reference.SeriesInstanceUID == source.SeriesInstanceUID
    assert reference.ReferencedInstanceSequence[0].ReferencedSOPInstanceUID == source.SOPInstanceUID
    assert [segment.SegmentLabel for segment in seg.SegmentSequence] == ["Lesion 1", "Lesion 2"]
    segment = seg.SegmentSequence[0]
    assert code(segment.SegmentedPropertyCategoryCodeSequence) == ("49755003", "SCT")
    assert code(segment.SegmentedPropertyTypeCodeSequence) == ("52988006", "SCT")
    assert code(segment.AnatomicRegionSequence) == ("76752008", "SCT")
    algorithm = segment.SegmentationAlgorithmIdentificationSequence[0]
    assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("hybrid_attention", hybrid_attention.__version__)
    assert segment.SegmentAlgorithmType == "AUTOMATIC"
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
    assert report.VerificationFlag == "UNVERIFIED"
    (group,) = report.content.get_image_measurement_groups()
    concepts = {measure.name.value: measure.value for measure in group.get_measurements()}
    assert concepts == {"P_BENIGN": 20, "111047": 71.23, "P_NORMAL": 8.77}
    assert references(group) == {"Source of Measurement": (source.SOPInstanceUID, None)}
    texts = [item.TextValue for item in group[0].ContentSequence if item.ValueType == "TEXT"]
    assert {"hybrid_attention", hybrid_attention.__version__} <= set(texts)
    assert_valid(tmp_path)


def test_frames_of_a_loop(tmp_path):
    """Segment by segment: the large lesions of the frames 2 and 4, then the small one of frame 2.

    Pixels that touch at a corner are one lesion; twice as tall as wide, 20 x 15 of them are taller than wide.
    """
    corner = SMALL | box(1, 1, SIZE, left=50, top=12)
    masks = {4: corner, 1: 0 * LARGE, 2: LARGE | SMALL}
    chances = dict.fromkeys(masks, CLASSES)
    source, seg, report = written(tmp_path, masks, chances, frames=4, PixelAspectRatio=[2, 1])
    np.testing.assert_array_equal(seg.pixel_array, [LARGE, corner, SMALL])
    each = seg.PerFrameFunctionalGroupsSequence
    sources = [group.DerivationImageSequence[0].SourceImageSequence[0] for group in each]
    assert [one.ReferencedFrameNumber for one in sources] == [2, 4, 2]
    assert {one.ReferencedSOPInstanceUID for one in sources} == {source.SOPInstanceUID}
    kinds = {element.value for element in seg.iterall() if element.keyword == "ReferencedSOPClassUID"}
    assert kinds == {MULTI_FRAME}
    segments = [group.SegmentIdentificationSequence[0].ReferencedSegmentNumber for group in each]
    assert segments == [1, 1, 2]
    groups = report.content.get_planar_roi_measurement_groups()
    names = ["Frame 2, lesion 1", "Frame 2, lesion 2", "Frame 4, lesion 1"]
    assert [group.tracking_identifier for group in groups] == names
    for group, frame, own in zip(groups, (2, 2, 4), (1, 3, 2), strict=True):
        found = references(group)
        assert found["Source Image for Segmentation"] == (source.SOPInstanceUID, frame)
        assert found["Referenced Segmentation Frame"] == (seg.SOPInstanceUID, own)
    assert values(groups[0])["Area"] == (300, "{pixels}")
    assert values(groups[0])["Short axis"][0] == pytest.approx(20 / 2**0.5, abs=1e-4)
    assert values(groups[0])["Angle of the long axis to the skin"] == (90, "deg")
    assert len(report.content.get_image_measurement_groups()) == 2
    assert_valid(tmp_path)


def test_de_identified_source(tmp_path):
    file = write_dicom(tmp_path / "bare.dcm", np.zeros(SIZE, np.uint8))
    bare = pydicom.dcmread(file)
    for name in ("PatientName", "PatientID", "PatientBirthDate", "StudyDate", "AccessionNumber", "FrameOfReferenceUID"):
        delattr(bare, name)
    bare.save_as(file)
    _, seg, report = of_source(file, {1: LARGE})
    assert not seg.PatientName and not report.PatientName
    assert not report.content.get_image_measurement_groups()  # without classes
    del bare.SeriesInstanceUID
    bare.save_as(file)
    with pytest.raises(ValueError, match=r"bare.dcm can't be referred to: it has no SeriesInstanceUID"):
        write_dicom_segmentation(tmp_path / "seg.dcm", file, {1: LARGE})


def item(**values):
    made = pydicom.Dataset()
    for name, value in values.items():
        setattr(made, name, value)
    return [made]


PLACE = {"ImagePositionPatient": [5, 6, 7], "ImageOrientationPatient": [1, 0, 0, 0, 0, -1]}
SHARED = item(
    PlaneOrientationSequence=item(ImageOrientationPatient=PLACE["ImageOrientationPatient"]),
    PixelMeasuresSequence=item(PixelSpacing=[0.3, 0.2], SliceThickness=1),
)
EACH = [item(PlanePositionSequence=item(ImagePositionPatient=[5, 6 - frame, 7]))[0] for frame in range(3)]
EACH_PLACE = {"SharedFunctionalGroupsSequence": SHARED, "PerFrameFunctionalGroupsSequence": EACH, "kind": ENHANCED}
AS_DEVICES_WRITE = {
    **{"PixelSpacing": [0.1, 0.1], "ImagePositionPatient": [0, 0, 0], "BodyPartExamined": "BREAST"},
    **{"LossyImageCompression": "01", "LossyImageCompressionRatio": 9, "LossyImageCompressionMethod": "ISO_10918_1"},
    **{"syntax": JPEG, "raw": jpeg_frames(np.zeros((3, *SIZE), np.uint8))},
}


@pytest.mark.parametrize(
    ("settings", "frames", "spacing", "thickness", "positions"),
    [
        ({}, None, None, None, None),
        ({"regions": TISSUE}, None, [0.2, 0.1], 0.2, None),
        ({"PixelSpacing": [0.3, 0.2], "SliceThickness": 2}, None, [0.3, 0.2], 2, None),
        ({"regions": TISSUE, **PLACE}, None, [0.2, 0.1], 0.2, [[5, 6, 7]]),
        (PLACE, None, None, None, None),
        ({"regions": TISSUE}, 3, [0.2, 0.1], 0.2, None),
        ({"regions": TISSUE, **PLACE}, 3, [0.2, 0.1], 0.2, [[5, 6, 7]] * 2),
        (EACH_PLACE, 3, [0.3, 0.2], 1, [[5, 6, 7], [5, 4, 7]]),
        (AS_DEVICES_WRITE, 3, [0.1, 0.1], 0.1, None),
    ],
)
def test_functional_groups_that_viewers_ask_for(settings, frames, spacing, thickness, positions, tmp_path):
    """OHIF and 3D Slicer read spacing and orientation from the shared groups and positions from those of the frames."""
    masks = {1: LARGE} if frames is None else {1: LARGE, 3: SMALL}
    _, seg, _ = written(tmp_path, masks, dict.fromkeys(masks, CLASSES), frames, **settings)
    shared, each = seg.SharedFunctionalGroupsSequence[0], seg.PerFrameFunctionalGroupsSequence
    assert ("PixelMeasuresSequence" in shared) == (spacing is not None)
    if spacing is not None:
        (measures,) = shared.PixelMeasuresSequence
        assert (list(measures.PixelSpacing), measures.SliceThickness) == (spacing, thickness)
    assert ("PlaneOrientationSequence" in shared) == (positions is not None)
    if positions is not None:
        assert list(shared.PlaneOrientationSequence[0].ImageOrientationPatient) == PLACE["ImageOrientationPatient"]
        assert [list(group.PlanePositionSequence[0].ImagePositionPatient) for group in each] == positions
    assert shared.SegmentIdentificationSequence[0].ReferencedSegmentNumber == 1
    np.testing.assert_array_equal(seg.pixel_array.reshape(-1, *SIZE), list(masks.values()))
    assert_valid(tmp_path)


def test_what_does_not_fit(tmp_path):
    cine = write_dicom(tmp_path / "cine.dcm", np.zeros((4, *SIZE), np.uint8), NumberOfFrames=4)
    for masks, message in (
        ({1: LARGE.T}, r"shape \(61, 41\) for frame 1 does not fit .*4 frame\(s\) of \(41, 61\)"),
        ({5: LARGE}, r"frame 5 does not fit .*4 frame\(s\)"),
        ({1: 0 * LARGE, 2: 0 * LARGE}, "2 masks"),
    ):
        with pytest.raises(ValueError, match=message):
            write_dicom_segmentation(tmp_path / "seg.dcm", cine, masks)
    assert not (tmp_path / "seg.dcm").exists()
