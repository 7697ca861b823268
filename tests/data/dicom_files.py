"""Small DICOM files, written from scratch: every pixel, region and spacing is known."""

import io

import pytest
from PIL import Image

pydicom = pytest.importorskip("pydicom", reason="the extra `dicom` is not installed")

ULTRASOUND, ENHANCED = pydicom.uid.UltrasoundImageStorage, pydicom.uid.EnhancedUSVolumeStorage
MULTI_FRAME, CAPTURE = pydicom.uid.UltrasoundMultiFrameImageStorage, pydicom.uid.SecondaryCaptureImageStorage
REPORT = pydicom.uid.ComprehensiveSRStorage
EXPLICIT, DEFLATED = pydicom.uid.ExplicitVRLittleEndian, pydicom.uid.DeflatedExplicitVRLittleEndian
JPEG, JPEG_LOSSLESS = pydicom.uid.JPEGBaseline8Bit, pydicom.uid.JPEGLosslessSV1
MPEG4, RLE = pydicom.uid.MPEG4HP41, pydicom.uid.RLELossless


def region(left, top, right, bottom, delta=(0.01, 0.02), units=3, data_type=1, spatial_format=1):
    """An item of the regions: its corners are within it, as DICOM has it; cm a pixel."""
    item = pydicom.Dataset()
    item.RegionSpatialFormat, item.RegionDataType, item.RegionFlags = spatial_format, data_type, 2
    item.RegionLocationMinX0, item.RegionLocationMinY0 = left, top
    item.RegionLocationMaxX1, item.RegionLocationMaxY1 = right, bottom
    item.PhysicalUnitsXDirection = item.PhysicalUnitsYDirection = units
    item.PhysicalDeltaX, item.PhysicalDeltaY = delta
    return item


def header(kind=ULTRASOUND, syntax=EXPLICIT, **attributes):
    """A data set without pixels, complete enough for a validator."""
    made, new = pydicom.Dataset(), pydicom.uid.generate_uid
    made.file_meta = pydicom.dataset.FileMetaDataset()
    made.file_meta.TransferSyntaxUID = syntax
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID = kind
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID = new()
    made.StudyInstanceUID, made.SeriesInstanceUID, made.FrameOfReferenceUID = new(), new(), new()
    made.PatientName, made.PatientID, made.PatientBirthDate, made.PatientSex = "Doe^Jane", "P1", "19700101", "F"
    made.StudyDate, made.StudyTime, made.StudyID, made.AccessionNumber = "20200102", "101500", "1", "A1"
    made.ReferringPhysicianName, made.Manufacturer, made.PositionReferenceIndicator = "", "none", ""
    made.Modality, made.SeriesNumber, made.InstanceNumber, made.ImageType = "US", 1, 1, ["ORIGINAL", "PRIMARY"]
    for name, value in attributes.items():
        setattr(made, name, value)
    return made


def write_dicom(path, pixels, photometric="MONOCHROME2", regions=(), syntax=EXPLICIT, raw=None, **attributes):
    """Write pixels, (H, W) or (H, W, 3), or (frames, H, W) with `NumberOfFrames`; `raw` are the bytes to store."""
    several = int(attributes.get("NumberOfFrames", 1)) > 1
    made = header(**{"kind": MULTI_FRAME if several else ULTRASOUND, "syntax": syntax, **attributes})
    shape = pixels.shape[1:] if several else pixels.shape
    made.Rows, made.Columns, made.PhotometricInterpretation = shape[0], shape[1], photometric
    made.SamplesPerPixel = attributes.get("SamplesPerPixel", 3 if len(shape) == 3 else 1)
    if made.SamplesPerPixel == 3 and "PlanarConfiguration" not in made:
        made.PlanarConfiguration = 0
    made.BitsAllocated = 8 * pixels.dtype.itemsize
    made.BitsStored = attributes.get("BitsStored", made.BitsAllocated)
    made.HighBit = made.BitsStored - 1
    made.PixelRepresentation = int(pixels.dtype.kind == "i")
    if regions:
        made.SequenceOfUltrasoundRegions = list(regions)
    content = pixels.tobytes() if raw is None else raw
    made.PixelData = content + b"\0" * (len(content) % 2)
    made["PixelData"].VR = "OW" if made.BitsAllocated == 16 else "OB"
    made["PixelData"].is_undefined_length = made.file_meta.TransferSyntaxUID.is_encapsulated
    made.save_as(path, enforce_file_format=True)
    return path


def set_text(path, **texts):
    """Give attributes of a file values that need not be what their kind allows."""
    stored = pydicom.dcmread(path)
    for keyword, text in texts.items():
        tag, value = pydicom.tag.Tag(keyword), text.encode() + b" " * (len(text) % 2)
        kind = pydicom.datadict.dictionary_VR(tag)
        stored._dict[tag] = pydicom.dataelem.RawDataElement(tag, kind, len(value), value, 0, False, True)
    stored.save_as(path)
    return path


def jpeg_frames(frames):
    """The pixels of frames, each (H, W) or (H, W, 3) of RGB, as JPEG baseline (YCbCr, 4:2:2)."""
    encoded = []
    for frame in frames:
        buffer = io.BytesIO()
        Image.fromarray(frame).save(buffer, "JPEG", quality=95, subsampling="4:2:2")
        encoded.append(buffer.getvalue())
    return pydicom.encaps.encapsulate(encoded)
