"""Results as other systems take them: DICOM segmentations."""

from hybrid_attention.deploy.dicom_seg import dicom_segmentation, write_dicom_segmentation
from hybrid_attention.deploy.save_dicom_segmentation import SaveDicomSegmentation

__all__ = ["SaveDicomSegmentation", "dicom_segmentation", "write_dicom_segmentation"]
