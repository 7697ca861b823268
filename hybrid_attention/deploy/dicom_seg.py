"""Masks as DICOM Segmentation objects that refer to the images they were made from."""

from __future__ import annotations

import copy
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from hybrid_attention import __version__
from hybrid_attention.data.dicom import (
    frame_count,
    frame_geometry,
    is_dicom,
    numbers,
    read_header,
    split_frame,
    to_full_frame,
)
from hybrid_attention.data.files import atomic_path, how_to_install, prepare_output_folder
from hybrid_attention.data.folder import result_path
from hybrid_attention.engines.predictions import plane
from ignite.engine import Engine, Events
from monai.utils import CommonKeys

if TYPE_CHECKING:
    from pydicom import Dataset

NAME = "hybrid_attention"
_NOT_OF_ONE_FRAME = ("NumberOfFrames", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
_PLACE = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness")
_IDENTIFIERS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
_MAY_BE_EMPTY = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID")
_STILL_ULTRASOUND = "1.2.840.10008.5.1.4.1.1.6.1"
_ORDER_TAG, _ORDER_GROUP = 0x00209128, 0x00209111  # Temporal Position Index, in Frame Content Sequence


logger = logging.getLogger(__name__)


def dicom_segmentation(source: str | os.PathLike[str], masks: Mapping[int, np.ndarray]) -> Dataset:
    """Make a binary DICOM Segmentation of lesions from masks of a file's frames.

    It belongs to the study, patient and frame of reference of the source, forms a series of its own, and has one
    segment (SNOMED CT: morphologically abnormal structure, lesion, of the breast; segmented by an algorithm, with the
    version of this package). Each of its frames refers to the instance, and in a multi-frame source to the frame, whose
    pixels match one for one. Pixel measures are there where the source has a spacing; position and orientation where
    it has these, too. Slice thickness may then not be missing: it is that of the source, else the height of a pixel.
    Frames without a lesion are left out.

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
    lesions = {number: (masks[number] > 0).astype(np.uint8) for number in sorted(masks) if masks[number].any()}
    if not lesions:
        raise ValueError(f"there is nothing to write for {source}: all of its {len(masks)} masks are empty")
    if _places_each_frame(header):
        frames = [lesions.get(number, np.zeros(size, np.uint8)) for number in range(1, count + 1)]
        return _segmentation(header, copy.deepcopy(header), np.stack(frames))
    made = _segmentation(header, _of_one_frame(header), next(iter(lesions.values()))[None])
    if "NumberOfFrames" in header:
        _extend(made, lesions)
    return made


def write_dicom_segmentation(
    path: str | os.PathLike[str], source: str | os.PathLike[str], masks: Mapping[int, np.ndarray]
) -> None:
    """Write what `dicom_segmentation` makes, by rename.

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


def _segmentation(header: Dataset, image: Dataset, masks: np.ndarray) -> Dataset:
    """Return a segmentation of (frames, H, W) that refers to the instance of `header`, in the place of `image`."""
    highdicom = require_highdicom()
    from pydicom.sr.codedict import codes
    from pydicom.uid import generate_uid

    for keyword in (*_MAY_BE_EMPTY, "AccessionNumber"):  # de-identified files may lack them
        setattr(image, keyword, image.get(keyword))
    algorithm = highdicom.AlgorithmIdentificationSequence(
        name=NAME, version=__version__, family=codes.cid7162.ArtificialIntelligence
    )
    segment = highdicom.seg.SegmentDescription(
        segment_number=1,
        segment_label="Lesion",
        segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
        segmented_property_type=codes.SCT.Lesion,
        algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=algorithm,
        anatomic_regions=[codes.SCT.Breast],
    )
    made = highdicom.seg.Segmentation(
        source_images=[image],
        pixel_array=masks,
        segmentation_type=highdicom.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[segment],
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


def _extend(made: Dataset, masks: Mapping[int, np.ndarray]) -> None:
    """Give a segmentation of one frame a frame for each of `masks`, which refers to that frame of the source."""
    from pydicom import Dataset

    order = Dataset()
    order.DimensionIndexPointer, order.FunctionalGroupPointer = _ORDER_TAG, _ORDER_GROUP
    order.DimensionOrganizationUID = made.DimensionIndexSequence[0].DimensionOrganizationUID
    order.DimensionDescriptionLabel = "Temporal Position Index"
    made.DimensionIndexSequence.append(order)

    pattern = made.PerFrameFunctionalGroupsSequence[0]
    before = numbers(pattern.FrameContentSequence[0], "DimensionIndexValues")
    groups = []
    for position, number in enumerate(masks, start=1):
        group = copy.deepcopy(pattern)
        group.DerivationImageSequence[0].SourceImageSequence[0].ReferencedFrameNumber = number
        content = group.FrameContentSequence[0]
        content.TemporalPositionIndex = position  # among the frames here; the reference has the source's number
        content.DimensionIndexValues = [*map(int, before), position]
        groups.append(group)
    made.PerFrameFunctionalGroupsSequence = groups
    made.NumberOfFrames = len(groups)
    packed = np.packbits(np.stack(list(masks.values())), bitorder="little").tobytes()
    made.PixelData = packed + b"\0" * (len(packed) % 2)


class SaveDicomSegmentation:
    """Write a DICOM segmentation for each DICOM file of an inference run; see `dicom_segmentation`.

    An image `a/b.dcm` gives `a/b_segmentation.dcm`, with all of its segmented frames that have a lesion. No file is
    written where no lesion is predicted, nor for images of other formats; the log counts both. Frames of a file must
    follow each other, as `image_datalist` has them. Files appear by rename.

    Args:
        folder: where the files go; subfolders of the images are kept.
        key: key of the mask in the engine's output: (H, W) or (1, H, W), 0 and 1, of the size of the tissue.

    Raises:
        ImportError: (when the run starts) highdicom is missing.
        ValueError: (during the run) two files would give one segmentation, or frames of a file are torn apart.
    """

    def __init__(self, folder: str | os.PathLike[str], key: str = CommonKeys.PRED) -> None:
        self.folder = Path(folder)
        self.key = key
        self._reset()

    def _reset(self) -> None:
        self.without_lesion = self.others = 0
        self.written: set[Path] = set()
        self._file: Path | None = None
        self._target = self.folder
        self._masks: dict[int, np.ndarray] = {}

    def attach(self, engine: Engine) -> None:
        """Attach to an evaluator.

        Args:
            engine: the evaluator of an inference run.
        """
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._collect)
        engine.add_event_handler(Events.COMPLETED, self._finish)

    def _start(self, engine: Engine) -> None:
        self._reset()
        require_highdicom()
        logging.getLogger("highdicom").setLevel(logging.WARNING)  # it tells of every module that it copies
        prepare_output_folder(self.folder)

    def _collect(self, engine: Engine) -> None:
        for case, output in zip(engine.state.batch, engine.state.output, strict=True):
            source = case["source"]
            if not is_dicom(source):
                self.others += 1
                continue
            file, number = split_frame(source)
            if file != self._file:
                self._write()
                case_id = case["case_id"] if number is None else case["case_id"].rpartition("#")[0]
                self._file, self._target = file, result_path(self.folder, case_id, "segmentation", ".dcm")
            self._masks[number or 1] = to_full_frame(plane(output[self.key]).astype(np.uint8), source)

    def _write(self) -> None:
        if self._file is None:
            return
        if any(mask.any() for mask in self._masks.values()):
            if self._target in self.written:
                raise ValueError(
                    f"the segmentation of {self._file} would overwrite {self._target} of this run: rename the "
                    "file, and keep the frames of a file together"
                )
            write_dicom_segmentation(self._target, self._file, self._masks)
            self.written.add(self._target)
        else:
            self.without_lesion += 1
        self._file, self._masks = None, {}

    def _finish(self, engine: Engine) -> None:
        self._write()
        logger.info(
            "%d DICOM segmentations in %s; none for %d DICOM files without a lesion and %d images of other formats",
            len(self.written),
            self.folder,
            self.without_lesion,
            self.others,
        )
