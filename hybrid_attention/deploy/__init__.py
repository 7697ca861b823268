"""Networks and results as other systems take them: archives, exported networks, DICOM segmentations."""

from hybrid_attention.deploy.archive import package, verify
from hybrid_attention.deploy.backends import with_backend
from hybrid_attention.deploy.dicom_seg import SaveDicomSegmentation, dicom_segmentation, write_dicom_segmentation
from hybrid_attention.deploy.export import export_bundle
from hybrid_attention.deploy.handlers import inference_handlers
from hybrid_attention.deploy.predictor import Options, predict
from hybrid_attention.deploy.whole import export_whole

__all__ = [
    "Options",
    "SaveDicomSegmentation",
    "dicom_segmentation",
    "export_bundle",
    "export_whole",
    "inference_handlers",
    "package",
    "predict",
    "verify",
    "with_backend",
    "write_dicom_segmentation",
]
