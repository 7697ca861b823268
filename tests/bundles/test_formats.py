"""PNG, DICOM and NIfTI through the bundles: from the split to the evaluation, and inference on whole frames."""

import json
import shutil

import nibabel
import numpy as np
import pandas as pd
import pytest
from hybrid_attention.engines import save_weights
from PIL import Image

from tests.bundles.commands import BUNDLES, QUICK, bundle, config, parsed
from tests.data.dicom_files import region, write_dicom

highdicom = pytest.importorskip("highdicom", reason="the extra `dicom` is not installed")

TRAIN, EVALUATE = config("hybrid", "train"), config("hybrid", "evaluate")
NETWORK = {"_target_": "hybrid_attention.networks.baselines.residual_unet", "channels": [4, 8, 16]}
SETS = range(1, 4)


def framed(tissue, banner):
    """Tissue below and right of a banner."""
    return np.pad(tissue, ((20, 0), (8, 0)), constant_values=banner)


def place(grey, **options):
    return [region(8, 20, grey.shape[1] + 7, grey.shape[0] + 19, **options)]


def pixels(path):
    return np.asarray(Image.open(path).convert("L"))


# ---- training: a folder in BUSI's layout


@pytest.fixture
def images(phantoms, tmp_path):
    """Three phantoms, each as PNG, as NIfTI, and as DICOM: a still image and a loop."""
    folder = tmp_path / "set" / "benign"
    folder.mkdir(parents=True)
    rows = ["image_id,duplicate_group"]
    for number in SETS:
        grey, truth = (pixels(phantoms / "benign" / f"benign ({number}){what}.png") for what in ("", "_mask"))
        Image.fromarray(grey).save(folder / f"picture{number}.png")
        nibabel.save(nibabel.Nifti1Image(grey.T[..., None], np.eye(4)), folder / f"volume{number}.nii.gz")
        write_dicom(folder / f"still{number}.dcm", framed(grey, 200), regions=place(grey))
        loop = np.stack([framed(grey, 200), framed(grey[:, ::-1], 200)])
        write_dicom(folder / f"loop{number}.dcm", loop, NumberOfFrames=2, regions=place(grey))
        for name in (f"picture{number}", f"volume{number}"):
            Image.fromarray(truth).save(folder / f"{name}_mask.png")
        for name, mask in {"still{}": truth, "loop{}#1": truth, "loop{}#2": truth[:, ::-1]}.items():
            Image.fromarray(framed(mask, 0)).save(folder / f"{name.format(number)}_mask.png")
        rows += [f"{name},{number}" for name in names(number)]
    (tmp_path / "groups.csv").write_text("\n".join(rows))
    return tmp_path / "set"


def names(number):
    files = ("loop{}.dcm#1", "loop{}.dcm#2", "picture{}.png", "still{}.dcm", "volume{}.nii.gz")
    return [f"benign/{name.format(number)}" for name in files]


def test_training_and_evaluation_at_the_size_of_the_files(images, tmp_path):
    given = ["--dataset_dir", images, "--output_dir", tmp_path / "out", "--groups_csv", tmp_path / "groups.csv"]
    given += ["--num_folds", 3, "--epochs", 1, "--network_def", NETWORK, *QUICK]
    bundle("training", [TRAIN], *given)
    bundle("evaluating", [TRAIN, EVALUATE], *given, "--score_size", "original", "--threshold", 0.4)
    folder = tmp_path / "out" / "evaluation"
    table = pd.read_csv(folder / "per_case.csv").set_index("case_id")
    number = table["group"].iloc[0]
    truth = pixels(images / "benign" / f"picture{number}_mask.png") > 0
    counts = table[["tp", "fp", "fn", "tn"]]
    assert list(table.index) == names(number)
    assert (table["tp"] + table["fn"] == truth.sum()).all() and (counts.sum(axis=1) == truth.size).all()
    assert len(counts.drop(f"benign/loop{number}.dcm#2").drop_duplicates()) == 1  # one picture, four encodings
    assert json.loads((folder / "summary.json").read_text())["score_size"] == "original"
    drawn = {path.stem: pixels(path) > 0 for path in (folder / "truths").rglob("*.png")}
    assert len(drawn) == len(table)
    for stem, mask in drawn.items():
        np.testing.assert_array_equal(mask, truth[:, ::-1] if "#2" in stem else truth)


# ---- inference: masks of the whole frame, and DICOM segmentations that refer to it


@pytest.fixture
def studies(tmp_path, phantoms):
    """A picture as PNG, and the same as a still image and in a loop."""
    folder = tmp_path / "images"
    (folder / "study").mkdir(parents=True)
    shutil.copy(phantoms / "benign" / "benign (1).png", folder / "picture.png")
    grey = pixels(folder / "picture.png")
    frame, regions = framed(grey, 200), place(grey, delta=(0.01, 0.01))
    write_dicom(folder / "study" / "still.dcm", frame, regions=regions)
    write_dicom(folder / "study" / "IM1", np.stack([frame, frame, 255 - frame]), NumberOfFrames=3, regions=regions)
    return folder


def test_inference_as_a_user_runs_it(studies, tmp_path):
    from pydicom import dcmread

    parser = parsed("hybrid", "inference", network_def=NETWORK)
    save_weights(parser.get_parsed_content("network_def"), tmp_path / "model.pt")
    out = tmp_path / "out"
    given = ["--dataset_dir", studies, "--output_dir", out, "--ckpt_path", tmp_path / "model.pt", "--image_size", 32]
    given += ["--network_def", NETWORK, "--frames", "[1, 3]", "--uncertainty", "True", "--threshold", 0.0]
    bundle("inference", [config("hybrid", "inference")], *given, "--dicom_seg", "True")
    written = sorted(path.relative_to(out).as_posix() for path in out.rglob("*.*") if "_overlay" not in path.name)
    stems = ("picture", "study/IM1#1", "study/IM1#3", "study/still")
    maps = [f"{stem}_{what}.png" for stem in stems for what in ("mask", "uncertainty")]
    segmentations = ["study/IM1_segmentation.dcm", "study/still_segmentation.dcm"]
    assert written == sorted([*maps, *segmentations, "loops.csv", "predictions.csv", "predictions.json"])

    frame = dcmread(studies / "study" / "still.dcm")
    for what in ("mask", "uncertainty"):
        picture, first, _, still = (pixels(out / f"{stem}_{what}.png") for stem in stems)
        assert still.shape == (frame.Rows, frame.Columns)
        np.testing.assert_array_equal(still, framed(picture, 0))
        np.testing.assert_array_equal(still, first)
    still = highdicom.seg.segread(out / segmentations[1]).get_pixels_by_source_instance([frame.SOPInstanceUID])
    np.testing.assert_array_equal(still[0, ..., 0] * 255, pixels(out / "study" / "still_mask.png"))
    rows = pd.read_csv(out / "predictions.csv").set_index("case_id")
    assert list(rows.loc[["picture.png", "study/still.dcm"], "unit"]) == ["pixel", "mm"]
    assert rows["total_area"]["study/still.dcm"] == pytest.approx(0.01 * rows["total_area"]["picture.png"])
    loop = pd.read_csv(out / "loops.csv").squeeze()
    assert (loop["file"], loop["frames"], loop["unit"]) == ("study/IM1", 2, "mm")


@pytest.mark.parametrize("name", BUNDLES)
def test_every_bundle_reads_dicom_and_writes_segmentations_and_reports(name, studies, tmp_path):
    out = tmp_path / "out"
    switches = {"dicom_sr": True, "pdf": True, "gradcam": True, "panels": True, "threshold": 0.0, "frames": "middle"}
    switches |= {"dataset_dir": str(studies), "output_dir": str(out), "image_size": 64, "min_lesion_pixels": 0}
    parser = parsed(name, "inference", ckpt_path=str(tmp_path / "model.pt"), **switches)
    save_weights(parser.get_parsed_content("network_def"), tmp_path / "model.pt")
    parser.get_parsed_content("evaluator").run()
    for stem in ("study/IM1", "study/still"):
        assert highdicom.seg.segread(out / f"{stem}_segmentation.dcm").pixel_array.any()
        report = highdicom.sr.srread(out / f"{stem}_report.dcm").content
        assert report.get_planar_roi_measurement_groups()
        assert bool(report.get_image_measurement_groups()) == (name in ("hybrid_lite", "mtl_oca"))
    for stem in ("study/IM1#2", "study/still", "picture"):
        assert (out / f"{stem}_mask.png").is_file() and (out / f"{stem}_overlay.png").is_file()
    assert (out / "predictions.pdf").read_bytes().count(b"/Type /Page ") == 3
