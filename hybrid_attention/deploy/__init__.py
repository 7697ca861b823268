"""Networks and results as other systems take them: archives, exported networks, DICOM segmentations."""

from hybrid_attention.deploy.dicom_seg import dicom_segmentation, write_dicom_segmentation
from hybrid_attention.deploy.monai_label import check_labelled_cases
from hybrid_attention.deploy.run_on import run_on
from hybrid_attention.deploy.save_dicom_segmentation import SaveDicomSegmentation

__all__ = ["SaveDicomSegmentation", "check_labelled_cases", "dicom_segmentation", "run_on", "write_dicom_segmentation"]
