"""Inference on DICOM files: masks of the whole frame, and DICOM segmentations that refer to it."""

import csv
import shutil

import numpy as np
import pytest
from hybrid_attention.engines import save_weights
from monai.bundle import ConfigParser
from PIL import Image

from tests.bundles.commands import BUNDLES, bundle, config
from tests.dicom_files import region, write_dicom

highdicom = pytest.importorskip("highdicom", reason="the extra `dicom` is not installed")

NETWORK = {"_target_": "hybrid_attention.networks.baselines.residual_unet", "channels": [4, 8, 16]}


@pytest.fixture
def images(tmp_path, phantoms):
    """A picture as PNG, and the same as the tissue of a still image and a loop, below and right of a banner."""
    folder = tmp_path / "images"
    (folder / "study").mkdir(parents=True)
    shutil.copy(phantoms / "benign" / "benign (1).png", folder / "picture.png")
    tissue = np.asarray(Image.open(folder / "picture.png").convert("L"))
    height, width = tissue.shape
    frame = np.full((height + 20, width + 8), 200, np.uint8)
    frame[20:, 8:] = tissue
    place = [region(8, 20, width + 7, height + 19, delta=(0.01, 0.01))]
    write_dicom(folder / "study" / "still.dcm", frame, regions=place)
    write_dicom(folder / "study" / "IM1", np.stack([frame, frame, 255 - frame]), NumberOfFrames=3, regions=place)
    return folder


def parsed(name, images, out, **options):
    parser = ConfigParser()
    parser.read_config(config(name, "inference"))
    parser.update({"dataset_dir": str(images), "output_dir": str(out), "image_size": 64, **options})
    return parser


def test_as_a_user_runs_it(images, tmp_path):
    from pydicom import dcmread

    parser = parsed("hybrid", images, tmp_path, network_def=NETWORK)
    save_weights(parser.get_parsed_content("network_def"), tmp_path / "model.pt")
    out = tmp_path / "out"
    settings = [
        "--image_size",
        32,
        "--network_def",
        NETWORK,
        "--ckpt_path",
        tmp_path / "model.pt",
        "--dicom_seg",
        "True",
    ]
    settings += ["--frames", "[1, 3]", "--uncertainty", "True", "--threshold", 0.0]
    bundle("inference", [config("hybrid", "inference")], "--dataset_dir", images, "--output_dir", out, *settings)
    written = sorted(path.relative_to(out).as_posix() for path in out.rglob("*.*") if "_overlay" not in path.name)
    maps = [f"study/{stem}_{what}.png" for stem in ("IM1#1", "IM1#3", "still") for what in ("mask", "uncertainty")]
    segmentations = ["study/IM1_segmentation.dcm", "study/still_segmentation.dcm"]
    tables = ["predictions.csv", "predictions.json", "picture_mask.png", "picture_uncertainty.png"]
    assert written == sorted(maps + segmentations + tables)

    frame = dcmread(images / "study" / "still.dcm")
    for what in ("mask", "uncertainty"):
        of_picture, of_still, of_loop = (
            np.asarray(Image.open(out / f"{stem}_{what}.png")) for stem in ("picture", "study/still", "study/IM1#1")
        )
        assert of_still.shape == (frame.Rows, frame.Columns)
        assert not of_still[:20].any() and not of_still[:, :8].any()
        np.testing.assert_array_equal(of_still[20:, 8:], of_picture)
        np.testing.assert_array_equal(of_still, of_loop)
    still = highdicom.seg.segread(out / segmentations[1]).get_pixels_by_source_instance([frame.SOPInstanceUID])
    np.testing.assert_array_equal(still[0, ..., 0] * 255, np.asarray(Image.open(out / "study" / "still_mask.png")))
    loop = highdicom.seg.segread(out / segmentations[0])
    source = dcmread(images / "study" / "IM1").SOPInstanceUID
    for number in (1, 3):
        pixels = loop.get_pixels_by_source_frame(source, [number])
        np.testing.assert_array_equal(
            pixels[0, ..., 0] * 255, np.asarray(Image.open(out / f"study/IM1#{number}_mask.png"))
        )
    with open(out / "predictions.csv", newline="") as file:
        rows = {row["case_id"]: row for row in csv.DictReader(file)}
    assert set(rows) == {"picture.png", "study/still.dcm", "study/IM1#1", "study/IM1#3"}
    assert (rows["picture.png"]["unit"], rows["study/still.dcm"]["unit"]) == ("pixel", "mm")
    assert float(rows["study/still.dcm"]["total_area"]) == pytest.approx(
        0.01 * float(rows["picture.png"]["total_area"])
    )


@pytest.mark.parametrize("name", BUNDLES)
def test_every_bundle_reads_dicom_and_writes_segmentations(name, images, tmp_path):
    out = tmp_path / "out"
    switches = {"dicom_seg": True, "gradcam": True, "panels": True, "threshold": 0.0, "frames": "middle"}
    parsed(name, images, out, min_lesion_pixels=0, **switches).get_parsed_content("evaluator").run()
    for stem in ("study/IM1", "study/still"):
        assert highdicom.seg.segread(out / f"{stem}_segmentation.dcm").pixel_array.any()
    for stem in ("study/IM1#2", "study/still", "picture"):
        assert (out / f"{stem}_mask.png").is_file() and (out / f"{stem}_overlay.png").is_file()


def test_no_segmentations_unless_asked_for(images, tmp_path):
    parsed("hybrid", images, tmp_path / "out", network_def=NETWORK).get_parsed_content("evaluator").run()
    assert list((tmp_path / "out").rglob("*.dcm")) == []
    assert len(list((tmp_path / "out" / "study").glob("*_mask.png"))) == 4  # a still image and three frames
