"""Masks as DICOM Segmentation objects that refer to their source images."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from hybrid_attention import __version__
from hybrid_attention.data.dicom import frame_count, frame_geometry, numbers, read_header
from hybrid_attention.data.names import how_to_install
from hybrid_attention.data.writing import atomic_path
from hybrid_attention.prediction.loops import number_lesions

if TYPE_CHECKING:
    from pydicom import Dataset

NAME = "hybrid_attention"
_NOT_OF_ONE_FRAME = ("NumberOfFrames", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
_PLACE = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness")
_IDENTIFIERS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
_MAY_BE_EMPTY = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID")
_STILL_ULTRASOUND = "1.2.840.10008.5.1.4.1.1.6.1"
_ORDER_TAG, _ORDER_GROUP = 0x00209128, 0x00209111  # Temporal Position Index, in Frame Content Sequence


def write_dicom_segmentation(
    path: str | os.PathLike[str], source: str | os.PathLike[str], masks: Mapping[int, np.ndarray]
) -> Dataset:
    """Write lesions as a binary DICOM Segmentation by rename, and return it, a highdicom `Segmentation`.

    It belongs to the study, patient and frame of reference of the source, is a series of its own, and has a segment for
    each lesion of a frame, the largest first (SNOMED CT: morphologically abnormal structure, lesion, breast; by an
    algorithm, with the version of this package). Each of its frames refers to the instance, and in a multi-frame source
    to the frame, and has the same pixels. It has pixel measures if the source has a spacing, and position and
    orientation if the source has them, too. Slice thickness, which is then required, is that of the source, else the
    height of a pixel. Frames without a lesion are left out.

    Reference:
        DICOM PS3.3, section A.51, Segmentation IOD; PS3.16, CID 7150 and 7151.

    Args:
        path: of the segmentation.
        source: DICOM file of the images.
        masks: masks of whole frames, (H, W), nonzero is lesion, by the number of the frame, from 1.

    Raises:
        ValueError: all masks are empty, one has another size than the frames, there is no such frame, the source lacks
            an identifier, or it can't be read.
        ImportError: highdicom is not installed.
    """
    made = _of_masks(source, masks)
    with atomic_path(path) as temporary:
        made.save_as(temporary)
    return made


def _of_masks(source: str | os.PathLike[str], masks: Mapping[int, np.ndarray]) -> Any:
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


def require_highdicom() -> Any:
    """Import highdicom, or say how to install it."""
    try:
        import highdicom.seg
    except ImportError:
        raise ImportError(f"writing DICOM needs highdicom: {how_to_install('dicom')}") from None
    return highdicom


def fill_patient(header: Dataset) -> None:
    """Add empty elements that highdicom copies, if a de-identified source lacks them."""
    for keyword in (*_MAY_BE_EMPTY, "AccessionNumber"):
        setattr(header, keyword, header.get(keyword))


def _places_each_frame(header: Dataset) -> bool:
    """Return whether a multi-frame file has a position for each frame, which highdicom then copies."""
    shared, each = (header.get(f"{name}FunctionalGroupsSequence") or [{}] for name in ("Shared", "PerFrame"))
    complete = "PlaneOrientationSequence" in shared[0] and "PixelMeasuresSequence" in shared[0]
    return complete and all("PlanePositionSequence" in group for group in each)


def _of_one_frame(header: Dataset) -> Dataset:
    """Return the header of a still image at the position of the source: highdicom needs positions for loops."""
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


def _segmentation(header: Dataset, image: Dataset, labels: np.ndarray, segments: int) -> Any:
    """Return a segmentation of (frames, H, W) at the position of `image` that refers to the instance of `header`."""
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
    """Extend a segmentation of one frame to one frame for each lesion of each frame of the source."""
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
            content.TemporalPositionIndex = position  # in this file; the reference has the number in the source
            content.DimensionIndexValues = [segment, *map(int, before), position]
            if several:
                group.SegmentIdentificationSequence[0].ReferencedSegmentNumber = segment
            groups.append(group)
            planes.append(labels == segment)
    made.PerFrameFunctionalGroupsSequence = groups
    made.NumberOfFrames = len(groups)
    packed = np.packbits(np.stack(planes), bitorder="little").tobytes()
    made.PixelData = packed + b"\0" * (len(packed) % 2)
