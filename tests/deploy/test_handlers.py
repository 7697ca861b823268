import numpy as np
import pytest
import torch
from hybrid_attention.data import image_datalist
from hybrid_attention.deploy import SaveDicom
from ignite.engine import Engine
from PIL import Image

from tests.data.dicom_files import region, write_dicom

highdicom = pytest.importorskip("highdicom", reason="the extra `dicom` is not installed")

RAMP = np.arange(91, dtype=np.uint8).reshape(7, 13)  # a frame


def test_handler_writes_one_file_a_source(tmp_path):
    from pydicom import dcmread

    folder, out = tmp_path / "images", tmp_path / "out"
    (folder / "b").mkdir(parents=True)
    tissue = [region(3, 1, 6, 5)]  # four columns from 3, five rows from 1
    write_dicom(folder / "b" / "cine.dcm", np.stack([RAMP] * 3), NumberOfFrames=3, regions=tissue)
    write_dicom(folder / "still.dcm", RAMP, regions=tissue)
    write_dicom(folder / "unmarked.dcm", RAMP, regions=tissue)
    Image.fromarray(RAMP[:5, :4]).save(folder / "picture.png")
    cases = image_datalist(folder)
    marks = {"b/cine.dcm#2": (0, 0), "b/cine.dcm#3": (4, 3), "still.dcm": (2, 1), "picture.png": (0, 0)}

    def outputs(case):
        made = torch.zeros(1, 5, 4, dtype=torch.uint8)
        if case["case_id"] in marks:
            made[0, marks[case["case_id"]][0], marks[case["case_id"]][1]] = 1
        return {"pred": made, "class_probability": torch.tensor([0.25, 0.75])}

    engine = Engine(lambda engine, batch: [outputs(case) for case in batch])
    handler = SaveDicom(out, report=True, class_names=["benign", "malignant"])
    handler.attach(engine)
    engine.run([cases[:2], cases[2:]])  # a loop that goes on in the next batch
    assert sorted(path.relative_to(out).as_posix() for path in out.rglob("*.dcm")) == [
        "b/cine_report.dcm",
        "b/cine_segmentation.dcm",
        "still_report.dcm",
        "still_segmentation.dcm",
    ]
    assert (len(handler.written), handler.without_lesion, handler.others) == (2, 1, 1)
    seg = highdicom.seg.segread(out / "b" / "cine_segmentation.dcm")
    pixels = seg.get_pixels_by_source_frame(dcmread(folder / "b" / "cine.dcm").SOPInstanceUID, [2, 3])[..., 0]
    assert np.argwhere(pixels).tolist() == [[0, 1, 3], [1, 5, 6]]  # frame, row, column
    report = highdicom.sr.srread(out / "b" / "cine_report.dcm").content
    assert len(report.get_planar_roi_measurement_groups()) == 2
    for group in report.get_image_measurement_groups():
        assert [measure.value for measure in group.get_measurements()] == [25, 75]


def test_handler_overwrites_nothing(tmp_path):
    write_dicom(tmp_path / "a.dcm", RAMP)
    write_dicom(tmp_path / "a.dicom", np.stack([RAMP] * 2), NumberOfFrames=2)
    engine = Engine(lambda engine, batch: [{"pred": torch.ones(7, 13)} for _ in batch])
    SaveDicom(tmp_path / "out").attach(engine)
    with pytest.raises(ValueError, match=r"of .*a.dicom would overwrite .*a_segmentation.dcm"):
        engine.run([image_datalist(tmp_path)])
