"""DICOM segmentations: what they hold, read back by highdicom, and what a validator says."""

import shutil
import subprocess

import hybrid_attention
import numpy as np
import pytest
from hybrid_attention.prediction.dicom_seg import write_dicom_segmentation

from tests.data.dicom_files import ENHANCED, EXPLICIT, JPEG, MULTI_FRAME, jpeg_frames, region, write_dicom

highdicom = pytest.importorskip("highdicom", reason="the extra `dicom` is not installed")

SIZE = (7, 13)  # height and width of frames: 91 pixels, no multiple of 8


def mask(*columns):
    """Lesion in some columns of the rows 2 and 3."""
    made = np.zeros(SIZE, np.uint8)
    made[2:4, list(columns)] = 1
    return made


@pytest.fixture
def still(tmp_path):
    return write_dicom(tmp_path / "still.dcm", np.zeros((7, 13), np.uint8))


@pytest.fixture
def cine(tmp_path):
    return write_dicom(tmp_path / "cine.dcm", np.zeros((4, 7, 13), np.uint8), NumberOfFrames=4)


def written(path, source, masks):
    write_dicom_segmentation(path, source, masks)
    return highdicom.seg.segread(path)


def test_still_image(still, tmp_path):
    from pydicom import dcmread

    source = dcmread(still)
    seg = written(tmp_path / "out" / "seg.dcm", still, {1: mask(4, 5)})
    pixels = seg.get_pixels_by_source_instance([source.SOPInstanceUID])
    np.testing.assert_array_equal(pixels[0, ..., 0], mask(4, 5))
    for name in ("StudyInstanceUID", "PatientID", "PatientName", "FrameOfReferenceUID", "AccessionNumber", "StudyDate"):
        assert seg[name].value == source[name].value, name
    assert seg.SeriesInstanceUID != source.SeriesInstanceUID
    assert (seg.SegmentationType, seg.BitsAllocated, seg.Modality) == ("BINARY", 1, "SEG")
    assert seg.file_meta.TransferSyntaxUID == EXPLICIT
    reference = seg.ReferencedSeriesSequence[0]
    assert reference.SeriesInstanceUID == source.SeriesInstanceUID
    assert reference.ReferencedInstanceSequence[0].ReferencedSOPInstanceUID == source.SOPInstanceUID


def test_segment_is_a_lesion_of_the_breast_with_its_algorithm(still, tmp_path):
    (segment,) = written(tmp_path / "seg.dcm", still, {1: mask(4)}).SegmentSequence

    def code(sequence):
        return sequence[0].CodeValue, sequence[0].CodingSchemeDesignator

    assert code(segment.SegmentedPropertyCategoryCodeSequence) == ("49755003", "SCT")
    assert code(segment.SegmentedPropertyTypeCodeSequence) == ("52988006", "SCT")
    assert code(segment.AnatomicRegionSequence) == ("76752008", "SCT")
    algorithm = segment.SegmentationAlgorithmIdentificationSequence[0]
    assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("hybrid_attention", hybrid_attention.__version__)
    assert segment.SegmentAlgorithmType == "AUTOMATIC"


def test_loop_refers_to_its_frames(cine, tmp_path):
    from pydicom import dcmread

    seg = written(tmp_path / "seg.dcm", cine, {4: mask(8, 9), 1: mask(), 2: mask(0, 1)})
    assert seg.NumberOfFrames == 2
    source = dcmread(cine).SOPInstanceUID
    references = [
        group.DerivationImageSequence[0].SourceImageSequence[0] for group in seg.PerFrameFunctionalGroupsSequence
    ]
    assert [(item.ReferencedSOPInstanceUID, item.ReferencedFrameNumber) for item in references] == [
        (source, 2),
        (source, 4),
    ]
    kinds = {element.value for element in seg.iterall() if element.keyword == "ReferencedSOPClassUID"}
    assert kinds == {MULTI_FRAME}
    pixels = seg.get_pixels_by_source_frame(source, [2, 4])
    np.testing.assert_array_equal(pixels[..., 0], [mask(0, 1), mask(8, 9)])
    empty = seg.get_pixels_by_source_frame(
        source, [1], ignore_spatial_locations=True, assert_missing_frames_are_empty=True
    )
    assert not empty.any()


def test_a_segment_for_each_lesion(still, cine, tmp_path):
    """The larger lesion comes first; pixels that touch at a corner are one."""
    both = mask(1, 5, 6)
    both[4, 7] = 1
    seg = written(tmp_path / "still_seg.dcm", still, {1: both})
    assert [segment.SegmentLabel for segment in seg.SegmentSequence] == ["Lesion 1", "Lesion 2"]
    small = mask(1)
    np.testing.assert_array_equal(seg.pixel_array, [both - small, small])
    loop = written(tmp_path / "loop_seg.dcm", cine, {2: mask(8), 3: both})
    np.testing.assert_array_equal(loop.pixel_array, [mask(8), both - small, small])
    segments = [group.SegmentIdentificationSequence[0] for group in loop.PerFrameFunctionalGroupsSequence]
    assert [segment.ReferencedSegmentNumber for segment in segments] == [1, 1, 2]


def test_de_identified_source(tmp_path):
    from pydicom import dcmread

    file = write_dicom(tmp_path / "bare.dcm", np.zeros((7, 13), np.uint8))
    bare = dcmread(file)
    for name in ("PatientName", "PatientID", "PatientBirthDate", "StudyDate", "AccessionNumber", "FrameOfReferenceUID"):
        delattr(bare, name)
    bare.save_as(file)
    assert not written(tmp_path / "seg.dcm", file, {1: mask(4)}).PatientName
    del bare.SeriesInstanceUID
    bare.save_as(file)
    with pytest.raises(ValueError, match=r"bare.dcm can't be referred to: it has no SeriesInstanceUID"):
        write_dicom_segmentation(tmp_path / "seg.dcm", file, {1: mask(4)})


@pytest.fixture
def compressed(tmp_path):
    """A loop as devices write them: JPEG, with spacing and a position."""
    frames = np.zeros((3, 7, 13), np.uint8)
    lossy = {
        "LossyImageCompression": "01",
        "LossyImageCompressionRatio": 9,
        "LossyImageCompressionMethod": "ISO_10918_1",
    }
    place = {"PixelSpacing": [0.1, 0.1], "ImagePositionPatient": [0, 0, 0], "BodyPartExamined": "BREAST"}
    raw = jpeg_frames(frames)
    return write_dicom(tmp_path / "jpeg.dcm", frames, syntax=JPEG, raw=raw, NumberOfFrames=3, **lossy, **place)


PLACE = {"ImagePositionPatient": [5, 6, 7], "ImageOrientationPatient": [1, 0, 0, 0, 0, -1]}
TISSUE = [region(0, 0, 12, 6)]  # pixels of 0.1 mm across and 0.2 mm down
SOURCES = {
    "nothing known": {},
    "spacing": {"regions": TISSUE},
    "thickness": {"PixelSpacing": [0.3, 0.2], "SliceThickness": 2},
    "place": {"regions": TISSUE, **PLACE},
    "place without spacing": PLACE,
    "spacing of a loop": {"regions": TISSUE, "NumberOfFrames": 3},
    "place of a loop": {"regions": TISSUE, "NumberOfFrames": 3, **PLACE},
    "place of each frame": {"kind": ENHANCED, "NumberOfFrames": 3},
}


def item(**values):
    from pydicom import Dataset

    made = Dataset()
    for name, value in values.items():
        setattr(made, name, value)
    return [made]


def of_source(name, folder):
    """Return the segmentation of a source: frame 1 and, of loops, frame 3."""
    settings = dict(SOURCES[name])
    if name == "place of each frame":
        settings["SharedFunctionalGroupsSequence"] = item(
            PlaneOrientationSequence=item(ImageOrientationPatient=PLACE["ImageOrientationPatient"]),
            PixelMeasuresSequence=item(PixelSpacing=[0.3, 0.2], SliceThickness=1),
        )
        settings["PerFrameFunctionalGroupsSequence"] = [
            item(PlanePositionSequence=item(ImagePositionPatient=[5, 6 - frame, 7]))[0] for frame in range(3)
        ]
    several = "NumberOfFrames" in settings
    source = write_dicom(folder / "source.dcm", np.zeros((3, 7, 13) if several else (7, 13), np.uint8), **settings)
    return written(folder / "seg.dcm", source, {1: mask(4), **({3: mask(5, 6)} if several else {})})


@pytest.mark.parametrize(
    ("name", "spacing", "thickness", "positions"),
    [
        ("nothing known", None, None, None),
        ("spacing", [0.2, 0.1], 0.2, None),
        ("thickness", [0.3, 0.2], 2, None),
        ("place", [0.2, 0.1], 0.2, [[5, 6, 7]]),
        ("place without spacing", None, None, None),
        ("spacing of a loop", [0.2, 0.1], 0.2, None),
        ("place of a loop", [0.2, 0.1], 0.2, [[5, 6, 7]] * 2),
        ("place of each frame", [0.3, 0.2], 1, [[5, 6, 7], [5, 4, 7]]),
    ],
)
def test_functional_groups_that_viewers_ask_for(tmp_path, name, spacing, thickness, positions):
    """OHIF and 3D Slicer read spacing and orientation from the shared groups and positions from those of the frames."""
    seg = of_source(name, tmp_path)
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
    pixels = seg.pixel_array.reshape(-1, 7, 13)
    np.testing.assert_array_equal(pixels, [mask(4), mask(5, 6)][: len(pixels)])
    kept = [group.DerivationImageSequence[0].SourceImageSequence[0].get("ReferencedFrameNumber") for group in each]
    assert kept == ([1, 3] if "NumberOfFrames" in SOURCES[name] else [None])


@pytest.mark.parametrize("name", [*SOURCES, "compressed", "two lesions"])
def test_validator(name, request, tmp_path):
    tool = shutil.which("dciodvfy")
    if tool is None:
        pytest.skip("dciodvfy (package dicom3tools) is not installed")
    if name == "compressed":
        written(tmp_path / "seg.dcm", request.getfixturevalue(name), {1: mask(4), 3: mask(5, 6)})
    elif name == "two lesions":
        written(tmp_path / "seg.dcm", request.getfixturevalue("cine"), {1: mask(1), 3: mask(2, 8)})
    else:
        of_source(name, tmp_path)
    done = subprocess.run([tool, tmp_path / "seg.dcm"], capture_output=True, text=True)
    assert [line for line in (done.stdout + done.stderr).splitlines() if line.startswith(("Error", "Warning"))] == []
    assert "Segmentation" in done.stdout + done.stderr  # it knew what it looked at


def test_what_does_not_fit(still, cine, tmp_path):
    with pytest.raises(ValueError, match=r"shape \(13, 7\) for frame 1 does not fit .*1 frame\(s\) of \(7, 13\)"):
        write_dicom_segmentation(tmp_path / "seg.dcm", still, {1: mask(4).T})
    with pytest.raises(ValueError, match=r"frame 5 does not fit .*4 frame\(s\)"):
        write_dicom_segmentation(tmp_path / "seg.dcm", cine, {5: mask(4)})
    with pytest.raises(ValueError, match="2 masks"):
        write_dicom_segmentation(tmp_path / "seg.dcm", cine, {1: mask(), 2: mask()})
    assert not (tmp_path / "seg.dcm").exists()
