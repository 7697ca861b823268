"""Measurements and class probabilities as DICOM Structured Reports that refer to images and segmentations."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from hybrid_attention import __version__
from hybrid_attention.data.dicom import frame_geometry, read_header
from hybrid_attention.data.writing import atomic_path
from hybrid_attention.prediction.dicom_seg import NAME, fill_patient, require_highdicom
from hybrid_attention.prediction.loops import number_lesions
from hybrid_attention.prediction.measurements import measure_lesion

if TYPE_CHECKING:
    from pydicom import Dataset

_SCHEME = "99HYBRID"  # of concepts without a DICOM code


def write_dicom_report(
    path: str | os.PathLike[str],
    source: str | os.PathLike[str],
    segmentation: Dataset,
    masks: Mapping[int, np.ndarray],
    classes: Mapping[int, Mapping[str, float]] | None = None,
    tracks: Mapping[int, Sequence[int]] | None = None,
) -> None:
    """Write a DICOM Structured Report of lesions by rename: a Comprehensive SR, a measurement report, TID 1500.

    Each lesion of a frame is a planar region (TID 1410) that refers to its frame of the segmentation and to the source
    image. It has a tracking identifier, the same in all frames of a track, long axis, short axis, area and angle of the
    long axis to the skin (see `measure_lesion`), and the orientation, parallel or not. The class probabilities belong
    to the image and are a group (TID 1501) for each frame. All groups name the algorithm and its version, and the
    observer is a device. Lengths are in mm if the source has a spacing, else in pixels.

    Reference:
        DICOM PS3.16, TID 1500, 1410 and 1501, and CID 6152 for the orientation; C. P. Bridge et al., "Highdicom: a
        Python Library for Standardized Encoding of Image Annotations and Machine Learning Model Outputs in Pathology
        and Radiology", J Digit Imaging 35 (2022) 1719.

    Args:
        path: of the report.
        source: DICOM file of the images.
        segmentation: what `write_dicom_segmentation` returned.
        masks: see `write_dicom_segmentation`.
        classes: probability of each class, by the number of the frame; frames without lesion are left out.
        tracks: number of the track of each lesion of a frame, by the number of the frame, as `Tracker.add` returns
            them; None if lesions were not tracked.

    Raises:
        ValueError: the source can't be read.
        ImportError: highdicom is not installed.
    """
    highdicom = require_highdicom()
    from highdicom import sr
    from pydicom import Dataset
    from pydicom.sr.codedict import codes
    from pydicom.uid import generate_uid

    header = read_header(source)
    fill_patient(header)
    frames, groups = _segment_frames(segmentation), []
    trackers: dict[str, Any] = {}
    for number in sorted(masks):
        labels = number_lesions(masks[number])
        if labels.any() and classes and classes.get(number):
            groups.append(_class_group(_image(sr.SourceImageForMeasurementGroup, header, number), classes[number]))
        for lesion in range(1, int(labels.max()) + 1):
            region = sr.ReferencedSegmentationFrame(
                sop_class_uid=segmentation.SOPClassUID,
                sop_instance_uid=segmentation.SOPInstanceUID,
                frame_number=frames[number, lesion],
                segment_number=lesion,
                source_image=_image(sr.SourceImageForSegmentation, header, number),
            )
            # a frame has one segment, and the standard allows one of both numbers
            del region[0].ReferencedSOPSequence[0].ReferencedSegmentNumber
            name = f"Frame {number}, lesion {lesion}" if "NumberOfFrames" in header else f"Lesion {lesion}"
            if tracks is not None:
                name = f"Track {tracks[number][lesion - 1]}"  # segments are called lesions, and numbered in each frame
            tracker = trackers.setdefault(name, sr.TrackingIdentifier(uid=generate_uid(), identifier=name))
            groups.append(_lesion_group(header, labels == lesion, tracker, region))
    device = sr.DeviceObserverIdentifyingAttributes(
        uid=generate_uid(entropy_srcs=[NAME, __version__]), name=NAME, model_name=NAME
    )
    content = sr.MeasurementReport(
        observation_context=sr.ObservationContext(
            observer_device_context=sr.ObserverContext(
                observer_type=codes.DCM.Device, observer_identifying_attributes=device
            )
        ),
        procedure_reported=codes.SCT.UltrasonographyOfBreast,
        imaging_measurements=groups,
    )
    made = highdicom.sr.ComprehensiveSR(
        evidence=[header, segmentation],
        content=content,
        series_instance_uid=generate_uid(),
        series_number=int(header.get("SeriesNumber") or 0) + 2000,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer=NAME,
        is_complete=True,
    )
    made.SeriesDescription = "Breast lesion measurements, for research only"
    scheme = Dataset()
    scheme.CodingSchemeDesignator, scheme.CodingSchemeName = _SCHEME, NAME
    made.CodingSchemeIdentificationSequence = [scheme]
    with atomic_path(path) as temporary:
        made.save_as(temporary)


def _segment_frames(segmentation: Dataset) -> dict[tuple[int, int], int]:
    """Return the number of each frame of a segmentation, by frame of the source and segment."""
    shared, found = segmentation.SharedFunctionalGroupsSequence[0], {}
    for position, group in enumerate(segmentation.PerFrameFunctionalGroupsSequence, start=1):
        holder = group if "SegmentIdentificationSequence" in group else shared
        source = group.DerivationImageSequence[0].SourceImageSequence[0]
        segment = int(holder.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
        found[int(source.get("ReferencedFrameNumber") or 1), segment] = position
    return found


def _image(kind: Any, header: Dataset, number: int) -> Any:
    """Return a content item that refers to the source, or to a frame of a multi-frame source."""
    frames = [number] if "NumberOfFrames" in header else None
    return kind(header.SOPClassUID, header.SOPInstanceUID, frames)


def _algorithm() -> Any:
    from highdicom import sr
    from pydicom.sr.codedict import codes

    return sr.AlgorithmIdentification(
        name=NAME,
        version=__version__,
        parameters=["for research only, not for clinical decisions"],
        family=codes.cid7162.ArtificialIntelligence,
    )


def _lesion_group(header: Dataset, lesion: np.ndarray, tracker: Any, region: Any) -> Any:
    from highdicom import sr
    from pydicom.sr.codedict import Code, codes

    geometry = frame_geometry(header)
    side = math.sqrt(geometry.aspect)
    measures: Any = measure_lesion(lesion, geometry.spacing or (side, 1 / side))
    pixels = Code("{pixels}", "UCUM", "pixels")
    length, area = (codes.UCUM.Millimeter, codes.UCUM.SquareMillimeter) if geometry.spacing else (pixels, pixels)
    parallel = measures["computed_orientation"] == "parallel"
    values = (
        (codes.SCT.LongAxis, measures["long_axis"], length),
        (codes.SCT.ShortAxis, measures["short_axis"], length),
        (codes.SCT.Area, measures["largest_area"], area),
        (
            Code("LONG_AXIS_ANGLE", _SCHEME, "Angle of the long axis to the skin"),
            measures["long_axis_angle"],
            codes.UCUM.Degree,
        ),
    )
    return sr.PlanarROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=tracker,
        referenced_segment=region,
        finding_category=codes.SCT.MorphologicallyAbnormalStructure,
        finding_type=codes.SCT.Lesion,
        finding_sites=[sr.FindingSite(codes.SCT.Breast)],
        algorithm_id=_algorithm(),
        measurements=[sr.Measurement(name=concept, value=value, unit=unit) for concept, value, unit in values],
        qualitative_evaluations=[
            sr.QualitativeEvaluation(
                name=codes.DCM.Orientation, value=codes.DCM.Parallel if parallel else codes.DCM.NotParallel
            )
        ],
    )


def _class_group(image: Any, classes: Mapping[str, float]) -> Any:
    from highdicom import sr
    from pydicom.sr.codedict import Code, codes
    from pydicom.uid import generate_uid

    codes_of = {name: Code(f"P_{name.upper()}", _SCHEME, f"Probability of class {name}") for name in classes}
    codes_of["malignant"] = codes.DCM.ProbabilityOfCancer
    return sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(uid=generate_uid(), identifier="Classes of the image"),
        source_images=[image],
        algorithm_id=_algorithm(),
        measurements=[
            sr.Measurement(name=codes_of[name], value=round(100 * chance, 2), unit=codes.UCUM.Percent)
            for name, chance in classes.items()
        ],
    )
