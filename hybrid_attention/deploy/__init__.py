"""Networks and results as other systems take them: archives, exported networks, DICOM segmentations and reports."""

from hybrid_attention.deploy.archive import package, verify
from hybrid_attention.deploy.backends import with_backend
from hybrid_attention.deploy.dicom_seg import dicom_segmentation, write_dicom_segmentation
from hybrid_attention.deploy.dicom_sr import dicom_report, write_dicom_report
from hybrid_attention.deploy.export import export_bundle
from hybrid_attention.deploy.export_whole import export_whole
from hybrid_attention.deploy.predictor import Options, predict
from hybrid_attention.deploy.save_predictions import SaveDicom, inference_handlers

__all__ = [
    "Options",
    "SaveDicom",
    "dicom_report",
    "dicom_segmentation",
    "export_bundle",
    "export_whole",
    "inference_handlers",
    "package",
    "predict",
    "verify",
    "with_backend",
    "write_dicom_report",
    "write_dicom_segmentation",
]
