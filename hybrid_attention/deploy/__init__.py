"""Networks and results as other systems take them: archives, exported networks, DICOM segmentations."""

from hybrid_attention.deploy.archive import package, verify
from hybrid_attention.deploy.backends import run_on
from hybrid_attention.deploy.bundle_export import export_bundle
from hybrid_attention.deploy.dicom_seg import dicom_segmentation, write_dicom_segmentation
from hybrid_attention.deploy.handlers import inference_handlers
from hybrid_attention.deploy.prediction import Options, predict
from hybrid_attention.deploy.save_dicom_segmentation import SaveDicomSegmentation

__all__ = [
    "Options",
    "SaveDicomSegmentation",
    "dicom_segmentation",
    "export_bundle",
    "inference_handlers",
    "package",
    "predict",
    "run_on",
    "verify",
    "write_dicom_segmentation",
]
