"""Networks and results as other systems take them: archives, exported networks, DICOM segmentations and reports."""

from hybrid_attention.deploy.archive import package, verify
from hybrid_attention.deploy.backends import with_backend
from hybrid_attention.deploy.export import export_bundle
from hybrid_attention.deploy.export_whole import export_whole
from hybrid_attention.deploy.save_predictions import inference_handlers
from hybrid_attention.prediction.dicom_seg import write_dicom_segmentation
from hybrid_attention.prediction.dicom_sr import write_dicom_report

__all__ = [
    "export_bundle",
    "export_whole",
    "inference_handlers",
    "package",
    "verify",
    "with_backend",
    "write_dicom_report",
    "write_dicom_segmentation",
]
