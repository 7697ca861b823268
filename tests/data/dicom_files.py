"""Small DICOM files, written from scratch: every pixel, region and spacing is known."""

import io

import numpy as np
from PIL import Image

ULTRASOUND, ENHANCED, MULTI_FRAME, CAPTURE, REPORT = (
    "1.2.840.10008.5.1.4.1.1.6.1",
    "1.2.840.10008.5.1.4.1.1.6.2",
    "1.2.840.10008.5.1.4.1.1.3.1",
    "1.2.840.10008.5.1.4.1.1.7",
    "1.2.840.10008.5.1.4.1.1.88.33",
)
EXPLICIT, DEFLATED, JPEG, JPEG_LOSSLESS, MPEG4, RLE = (
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2.1.99",
    "1.2.840.10008.1.2.4.50",
    "1.2.840.10008.1.2.4.70",
    "1.2.840.10008.1.2.4.102",
    "1.2.840.10008.1.2.5",
)


def region(left, top, right, bottom, delta=(0.01, 0.02), units=3, data_type=1, spatial_format=1):
    """An item of the regions: its corners are within it, as DICOM has it; cm a pixel."""
    from pydicom import Dataset

    item = Dataset()
    item.RegionSpatialFormat, item.RegionDataType, item.RegionFlags = spatial_format, data_type, 2
    item.RegionLocationMinX0, item.RegionLocationMinY0 = left, top
    item.RegionLocationMaxX1, item.RegionLocationMaxY1 = right, bottom
    item.PhysicalUnitsXDirection = item.PhysicalUnitsYDirection = units
    item.PhysicalDeltaX, item.PhysicalDeltaY = delta
    return item


def header(kind=ULTRASOUND, syntax=EXPLICIT, **attributes):
    """A data set without pixels, complete enough for a validator."""
    from pydicom import Dataset, FileMetaDataset
    from pydicom.uid import generate_uid

    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = syntax
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID = kind
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID = generate_uid()
    made.StudyInstanceUID, made.SeriesInstanceUID, made.FrameOfReferenceUID = (generate_uid() for _ in range(3))
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
    if made.file_meta.TransferSyntaxUID.is_encapsulated:
        made["PixelData"].is_undefined_length = True
    made.save_as(path, enforce_file_format=True)
    return path


def set_text(path, **texts):
    """Give attributes of a file values that need not be what their kind allows."""
    from pydicom import dcmread
    from pydicom.datadict import dictionary_VR, tag_for_keyword
    from pydicom.dataelem import RawDataElement
    from pydicom.tag import Tag

    stored = dcmread(path)
    for keyword, text in texts.items():
        tag, value = Tag(tag_for_keyword(keyword)), text.encode() + b" " * (len(text) % 2)
        stored._dict[tag] = RawDataElement(tag, dictionary_VR(tag), len(value), value, 0, False, True)
    stored.save_as(path)
    return path


def jpeg_frames(frames):
    """The pixels of frames, each (H, W) or (H, W, 3) of RGB, as JPEG baseline (YCbCr, 4:2:2)."""
    from pydicom.encaps import encapsulate

    encoded = []
    for frame in frames:
        buffer = io.BytesIO()
        Image.fromarray(frame).save(buffer, "JPEG", quality=95, subsampling="4:2:2")
        encoded.append(buffer.getvalue())
    return encapsulate(encoded)


def to_ybr(rgb):
    """RGB, (H, W, 3), in full-range YCbCr (ITU-R 601, as JPEG)."""
    red, green, blue = np.moveaxis(rgb.astype(float), -1, 0)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    planes = [luma, 128 + (blue - luma) / 1.772, 128 + (red - luma) / 1.402]
    return np.stack(planes, axis=-1).round().clip(0, 255).astype(np.uint8)
