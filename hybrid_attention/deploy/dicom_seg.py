"""Masks as DICOM Segmentation objects that refer to the images they were made from."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from hybrid_attention import __version__
from hybrid_attention.data.dicom import frame_count, frame_geometry, numbers, read_header
from hybrid_attention.data.files import atomic_path, how_to_install
from scipy import ndimage

if TYPE_CHECKING:
    from pydicom import Dataset

NAME = "hybrid_attention"
_NOT_OF_ONE_FRAME = ("NumberOfFrames", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
_PLACE = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness")
_IDENTIFIERS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
_MAY_BE_EMPTY = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID")
_STILL_ULTRASOUND = "1.2.840.10008.5.1.4.1.1.6.1"
_ORDER_TAG, _ORDER_GROUP = 0x00209128, 0x00209111  # Temporal Position Index, in Frame Content Sequence


def dicom_segmentation(source: str | os.PathLike[str], masks: Mapping[int, np.ndarray]) -> Dataset:
    """Make a binary DICOM Segmentation of lesions from masks of a file's frames.

    It belongs to the study, patient and frame of reference of the source, forms a series of its own, and has a segment
    for each lesion of a frame, numbered by their size (SNOMED CT: morphologically abnormal structure, lesion, of the
    breast; segmented by an algorithm, with the version of this package). Each of its frames refers to the instance,
    and in a multi-frame source to the frame, whose pixels match one for one. Pixel measures are there where the source
    has a spacing; position and orientation where it has these, too. Slice thickness may then not be missing: it is that
    of the source, else the height of a pixel. Frames without a lesion are left out.

    Reference:
        DICOM PS3.3, section A.51, Segmentation IOD; PS3.16, CID 7150 and 7151.

    Args:
        source: DICOM file of the images.
        masks: by the frame's number, counted from 1: (H, W) of the whole frame, nonzero is lesion.

    Returns:
        The data set, a highdicom `Segmentation`.

    Raises:
        ValueError: all masks are empty, or one has another size than the frames, or there is no such frame, or the
            source lacks an identifier; and what `read_header` raises.
        ImportError: highdicom is missing.
    """
    header = read_header(source)
    count, size = frame_count(header), (int(header.Rows), int(header.Columns))
    for number, mask in masks.items():
        if number not in range(1, count + 1) or mask.shape != size:
            raise ValueError(
                f"a mask of shape {mask.shape} for frame {number} does not fit {source}: {count} frame(s) of {size}"
            )
    missing = [name for name in _IDENTIFIERS if not header.get(name)]
    if missing:
        raise ValueError(f"{source} can't be referred to: it has no {', '.join(missing)}")
    lesions = {number: number_lesions(masks[number]) for number in sorted(masks) if masks[number].any()}
    if not lesions:
        raise ValueError(f"there is nothing to write for {source}: all of its {len(masks)} masks are empty")
    segments = max(int(labels.max()) for labels in lesions.values())
    if _places_each_frame(header):
        frames = [lesions.get(number, np.zeros(size, np.uint16)) for number in range(1, count + 1)]
        return _segmentation(header, copy.deepcopy(header), np.stack(frames), segments)
    made = _segmentation(header, _of_one_frame(header), next(iter(lesions.values()))[None], segments)
    if "NumberOfFrames" in header:
        _extend(made, lesions)
    return made


def number_lesions(mask: np.ndarray) -> np.ndarray:
    """Number the lesions of a mask, pixels connected at edges or corners, from 1 for the largest.

    Args:
        mask: (H, W), nonzero is lesion.

    Returns:
        uint16 array of the same shape; 0 is background.
    """
    labels, count = ndimage.label(mask, structure=np.ones((3, 3)))
    numbers = np.zeros(count + 1, dtype=np.uint16)
    numbers[1 + np.argsort(-np.bincount(labels.ravel())[1:], kind="stable")] = np.arange(1, count + 1)
    return numbers[labels]


def write_dicom_segmentation(
    path: str | os.PathLike[str], source: str | os.PathLike[str], masks: Mapping[int, np.ndarray]
) -> Dataset:
    """Write what `dicom_segmentation` makes, by rename, and return it.

    Args:
        path: the file to write.
        source: DICOM file of the images.
        masks: by the frame's number; see `dicom_segmentation`.

    Raises:
        ValueError: see `dicom_segmentation`.
        ImportError: highdicom is missing.
    """
    made: Any = dicom_segmentation(source, masks)
    with atomic_path(path) as temporary:
        made.save_as(temporary)
    return made


def require_highdicom() -> Any:
    """Return the library highdicom.

    Raises:
        ImportError: it is missing; the message says how to get it.
    """
    try:
        import highdicom.seg
    except ImportError:
        raise ImportError(f"writing DICOM needs highdicom: {how_to_install('dicom')}") from None
    return highdicom


def fill_patient(header: Dataset) -> None:
    """Add what highdicom copies from a source, empty: de-identified files may lack it."""
    for keyword in (*_MAY_BE_EMPTY, "AccessionNumber"):
        setattr(header, keyword, header.get(keyword))


def _places_each_frame(header: Dataset) -> bool:
    """Tell whether a file with several frames has a position for each, which highdicom then copies."""
    shared, each = (header.get(f"{name}FunctionalGroupsSequence") or [{}] for name in ("Shared", "PerFrame"))
    complete = "PlaneOrientationSequence" in shared[0] and "PixelMeasuresSequence" in shared[0]
    return complete and all("PlanePositionSequence" in group for group in each)


def _of_one_frame(header: Dataset) -> Dataset:
    """Return the header of a still image in the place of the source: highdicom takes no loops without positions."""
    image = copy.deepcopy(header)
    image.SOPClassUID = _STILL_ULTRASOUND
    spacing, thickness = frame_geometry(header).spacing, numbers(header, "SliceThickness")
    position, orientation = numbers(header, "ImagePositionPatient"), numbers(header, "ImageOrientationPatient")
    for keyword in (*_NOT_OF_ONE_FRAME, *_PLACE):
        if keyword in image:
            delattr(image, keyword)
    if spacing is not None:
        height, width = (float(f"{size:.10g}") for size in spacing)  # as decimals of a DICOM file
        image.PixelSpacing = [height, width]
        image.SliceThickness = thickness[0] if thickness and thickness[0] > 0 else height
        if (len(position), len(orientation)) == (3, 6):
            image.ImagePositionPatient, image.ImageOrientationPatient = position, orientation
    return image


def _segmentation(header: Dataset, image: Dataset, labels: np.ndarray, segments: int) -> Dataset:
    """Return a segmentation of (frames, H, W) that refers to the instance of `header`, in the place of `image`."""
    highdicom = require_highdicom()
    from pydicom.sr.codedict import codes
    from pydicom.uid import generate_uid

    fill_patient(image)
    algorithm = highdicom.AlgorithmIdentificationSequence(
        name=NAME, version=__version__, family=codes.cid7162.ArtificialIntelligence
    )
    descriptions = [
        highdicom.seg.SegmentDescription(
            segment_number=number,
            segment_label=f"Lesion {number}",
            segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
            segmented_property_type=codes.SCT.Lesion,
            algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
            algorithm_identification=algorithm,
            anatomic_regions=[codes.SCT.Breast],
        )
        for number in range(1, segments + 1)
    ]
    made = highdicom.seg.Segmentation(
        source_images=[image],
        pixel_array=labels,
        segmentation_type=highdicom.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=descriptions,
        series_instance_uid=generate_uid(),
        series_number=int(header.get("SeriesNumber") or 0) + 1000,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer=NAME,
        manufacturer_model_name=NAME,
        software_versions=__version__,
        device_serial_number="none",
        content_label="LESION",
        content_description="Breast lesion, for research only",
    )
    made.PatientOrientation = header.get("PatientOrientation") or ""
    for element in made.iterall():
        if element.keyword == "ReferencedSOPClassUID":
            element.value = header.SOPClassUID
    made.SeriesDescription = "Breast lesion segmentation, for research only"
    return made


def _extend(made: Dataset, lesions: Mapping[int, np.ndarray]) -> None:
    """Give a segmentation of one frame one for each lesion of each frame of the source, to which it then refers."""
    from pydicom import Dataset

    order = Dataset()
    order.DimensionIndexPointer, order.FunctionalGroupPointer = _ORDER_TAG, _ORDER_GROUP
    order.DimensionOrganizationUID = made.DimensionIndexSequence[0].DimensionOrganizationUID
    order.DimensionDescriptionLabel = "Temporal Position Index"
    made.DimensionIndexSequence.append(order)

    pattern, shared = made.PerFrameFunctionalGroupsSequence[0], made.SharedFunctionalGroupsSequence[0]
    before = numbers(pattern.FrameContentSequence[0], "DimensionIndexValues")[1:]  # the first is the segment's
    several = len(made.SegmentSequence) > 1
    if several and "SegmentIdentificationSequence" in shared:
        pattern.SegmentIdentificationSequence = shared.SegmentIdentificationSequence
        del shared.SegmentIdentificationSequence
    groups, planes = [], []
    for segment in range(1, len(made.SegmentSequence) + 1):
        for position, (number, labels) in enumerate(lesions.items(), start=1):
            if segment > labels.max():
                continue
            group = copy.deepcopy(pattern)
            group.DerivationImageSequence[0].SourceImageSequence[0].ReferencedFrameNumber = number
            content = group.FrameContentSequence[0]
            content.TemporalPositionIndex = position  # among the frames here; the reference has the source's number
            content.DimensionIndexValues = [segment, *map(int, before), position]
            if several:
                group.SegmentIdentificationSequence[0].ReferencedSegmentNumber = segment
            groups.append(group)
            planes.append(labels == segment)
    made.PerFrameFunctionalGroupsSequence = groups
    made.NumberOfFrames = len(groups)
    packed = np.packbits(np.stack(planes), bitorder="little").tobytes()
    made.PixelData = packed + b"\0" * (len(packed) % 2)
