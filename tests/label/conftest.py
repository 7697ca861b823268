"""MONAI Label in its own environment, with the archives of all bundles and nothing else of this project."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from hybrid_attention.deploy import archive
from hybrid_attention.deploy.archive import package, unpack_archive
from hybrid_attention.engines import save_weights
from hybrid_attention.engines.bundles import bundle_folder, inference_parser
from PIL import Image

from tests.bundles.commands import BUNDLES
from tests.data.dicom_files import region, write_dicom
from tests.label.label_server import environment


@pytest.fixture(scope="session")
def label_python():
    """Python of the environment with MONAI Label; without one the tests are skipped, and say why."""
    given = os.environ.get("MONAI_LABEL_PYTHON")
    if not given or not (Path(given).absolute().parents[1] / ".installed").is_file():
        pytest.skip(
            "needs MONAI Label in an environment of its own: make test-label, whose install.log says what failed"
        )
    return Path(given).absolute()


@pytest.fixture(scope="session")
def bundles(tmp_path_factory):
    """The unpacked archives by name. Only hybrid and hybrid_lite hold trained weights.

    They predict in fp32, since many pixels of untrained networks lie at the threshold, and empty no mask.
    """
    folder, unpacked = tmp_path_factory.mktemp("bundles"), {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(archive, "verify", lambda folder: "not checked")  # the test of packing does that
        for name in BUNDLES:
            unpacked[name] = unpack_archive(package(name, folder / "archives", weights(name, folder)), folder)
            config = unpacked[name] / "configs" / "inference.yaml"
            text = re.sub(r"^precision: \w+", "precision: fp32", config.read_text(), flags=re.MULTILINE)
            config.write_text(re.sub(r"^normal_threshold: .*", "normal_threshold: null", text, flags=re.MULTILINE))
    return unpacked


def weights(name, folder):
    source = bundle_folder(name)
    if name in ("hybrid", "hybrid_lite"):
        return source
    torch.manual_seed(0)
    network = inference_parser(source, ckpt_path="nowhere").get_parsed_content("network_def").eval()
    with torch.no_grad():  # so that masks are neither empty nor full
        first = next(weight for weight in network.parameters() if weight.ndim == 4)
        grey = torch.linspace(0, 1, 64).expand(1, first.shape[1], 64, 64)
        last = [parameter for key, parameter in network.named_parameters() if key.endswith("bias")][-1]
        if last.numel() == 1:
            last -= network(grey)[:, :1].median()
    save_weights(network, folder / f"{name}.pt")
    return folder / f"{name}.pt"


@pytest.fixture(scope="session")
def make_app(label_python, tmp_path_factory):
    """A function that gives a folder with MONAI Label's app `monaibundle` and copies of bundles in it."""

    def make(bundles):
        folder = tmp_path_factory.mktemp("label")
        words = ["-m", "monailabel.main", "apps", "--download", "--name", "monaibundle", "--output", str(folder)]
        subprocess.run([label_python, *words], check=True, capture_output=True, env=environment(folder))
        for name, bundle in bundles.items():
            shutil.copytree(bundle, folder / "monaibundle" / "model" / name)
        return folder / "monaibundle"

    return make


def framed(pixels, value):
    """Return a larger frame around pixels, (H, W)."""
    return np.pad(pixels, ((20, 10), (40, 10)), constant_values=value)


@pytest.fixture(scope="session")
def images(phantoms, tmp_path_factory):
    """One picture as PNG of three modes, JPEG and DICOM: grey, in colour, and as a part of a larger frame."""
    folder = tmp_path_factory.mktemp("images")
    grey = Image.open(phantoms / "benign" / "benign (1).png").convert("L")
    pixels = np.asarray(grey)
    height, width = pixels.shape
    for name, mode in (("grey", "L"), ("rgb", "RGB"), ("rgba", "RGBA")):
        grey.convert(mode).save(folder / f"{name}.png")
    grey.convert("RGB").save(folder / "photo.jpg", quality=95)
    write_dicom(folder / "mono.dcm", pixels, PixelSpacing=[0.3, 0.2])
    write_dicom(folder / "colour.dcm", np.stack([pixels] * 3, axis=-1), "RGB")
    write_dicom(folder / "region.dcm", framed(pixels, 9), regions=[region(40, 20, 39 + width, 19 + height)])
    write_dicom(folder / "loop.dcm", np.stack([pixels] * 3), NumberOfFrames=3)
    return folder


@pytest.fixture(scope="session")
def masks(phantoms, tmp_path_factory):
    """The lesion in each of the images, as clients save it: PNG at the image's size, or NIfTI, as 3D Slicer does."""
    folder = tmp_path_factory.mktemp("masks")
    truth = np.asarray(Image.open(phantoms / "benign" / "benign (1)_mask.png").convert("L"))
    made = {stem: folder / f"{stem}.png" for stem in ("grey", "rgb", "rgba", "photo", "mono", "colour", "region")}
    made["rgb"] = folder / "rgb.nii.gz"
    for stem in set(made) - {"rgb"}:
        Image.fromarray(framed(truth, 0) if stem == "region" else truth).save(made[stem])
    volume = (truth.T[..., None] > 0).astype(np.uint8)
    nibabel.save(nibabel.Nifti1Image(volume, np.diag([-1, -1, 1, 1])), made["rgb"])
    return made
