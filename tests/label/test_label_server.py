"""What viewers ask of MONAI Label, over REST: list, infer, choose the next image."""

import io
import json
import subprocess
import threading

import itk
import nibabel
import numpy as np
import pydicom
import pytest
from PIL import Image

from tests.bundles.commands import BUNDLES, bundle
from tests.label.dicomweb import dicomweb_server
from tests.label.label_server import Server


@pytest.fixture(scope="module")
def app(make_app, bundles):
    return make_app(bundles)


@pytest.fixture(scope="module")
def server(label_python, app, images):
    """A server with all bundles; its datastore is filled over REST."""
    with Server(label_python, app, BUNDLES) as running:
        for path in sorted(images.iterdir()):
            assert running.add_image(path.stem, path).json() == {"image": path.stem}
        yield running


def mask_of(answer):
    """The mask of a PNG answer, (H, W)."""
    _, name, content = answer
    image = Image.open(io.BytesIO(content))
    assert (name[-4:], image.format, image.mode) == (".png", "PNG", "L")
    return np.asarray(image)


def volume_of(answer, folder):
    _, name, content = answer
    path = folder / f"answer{name[name.index('.') :]}"
    path.write_bytes(content)
    return itk.imread(path)


def test_info_lists_all_bundles(server):
    info = server.ask("GET", "/info/").json()
    assert sorted(info["models"]) == sorted(info["trainers"]) == BUNDLES
    for model in info["models"].values():
        assert (model["type"], model["dimension"], model["version"]) == ("segmentation", 2, "0.1.0")
        assert next(iter(model["labels"])) == "lesion"
    assert sorted(info["strategies"]) == ["first", "random"]
    assert info["datastore"]["total"] == 8


@pytest.mark.parametrize("name", BUNDLES)
def test_masks_and_classes_are_those_of_the_bundle(name, server, app, images, tmp_path):
    options = ["--dataset_dir", images, "--output_dir", tmp_path, "--frames", "middle"]
    bundle("inference", [app / f"model/{name}/configs/inference.yaml"], *options)
    for stem in ("grey", "rgb", "rgba", "photo", "mono", "colour", "region"):
        mask = mask_of(server.infer(name, stem))
        own = np.asarray(Image.open(tmp_path / f"{stem}_mask.png"))
        assert mask.shape == own.shape, stem
        assert set(np.unique(mask)) == {0, 1}, stem
        assert ((mask == 1) == (own == 255)).mean() > 0.9999, stem
    (row,) = [row for row in json.loads((tmp_path / "predictions.json").read_text()) if row["case_id"] == "rgb.png"]
    own = {key.removeprefix("probability_"): value for key, value in row.items() if key.startswith("probability_")}
    assert server.infer(name, "rgb")[0].get("classification", {}) == pytest.approx(own, abs=1e-4)
    assert bool(own) == (name in ("hybrid_lite", "mtl_oca"))
    assert bool(server.infer(name, "photo", output="json").json().get("classification")) == bool(own)


def test_modes_make_no_difference(server, images):
    stems = ("grey", "rgb", "rgba", "mono", "colour", "region")
    masks = {stem: mask_of(server.infer("hybrid", stem)) for stem in stems}
    for stem in ("rgb", "rgba", "mono", "colour"):
        np.testing.assert_array_equal(masks[stem], masks["grey"])
    height, width = masks["grey"].shape
    np.testing.assert_array_equal(masks["region"][20 : 20 + height, 40 : 40 + width], masks["grey"])
    assert masks["region"].sum() == masks["grey"].sum() > 0
    for name in ("rgba.png", "mono.dcm"):  # images need not be in the datastore
        np.testing.assert_array_equal(mask_of(server.infer("hybrid", file=images / name)), masks["grey"])


def test_volumes_lie_where_the_image_lies(server, images, tmp_path):
    request = {"result_extension": ".nrrd", "result_dtype": "uint8"}  # what 3D Slicer and OHIF ask for
    for stem in ("mono", "region", "rgb"):
        volume = volume_of(server.infer("hybrid", stem, **request), tmp_path)
        mask = itk.array_from_image(volume)
        np.testing.assert_array_equal(mask if stem == "rgb" else mask[0], mask_of(server.infer("hybrid", stem)))
        if stem != "rgb":
            image = itk.imread(images / f"{stem}.dcm")
            for of in (itk.size, itk.spacing, itk.origin):
                assert list(of(volume)) == pytest.approx(list(of(image)))
    # MONAI Label's DICOMweb datastore hands NIfTI to the bundle
    pixels, affine = np.asarray(Image.open(images / "grey.png")), np.diag([-0.2, -0.3, 1, 1])
    nibabel.save(nibabel.Nifti1Image(pixels.T[..., None], affine), tmp_path / "slice.nii.gz")
    (tmp_path / "got.nii.gz").write_bytes(server.infer("hybrid", file=tmp_path / "slice.nii.gz")[2])
    got = nibabel.load(tmp_path / "got.nii.gz")
    np.testing.assert_allclose(got.affine, affine, atol=1e-6)
    np.testing.assert_array_equal(got.get_fdata()[..., 0].T, mask_of(server.infer("hybrid", "grey")))


def test_images_behind_dicomweb(server, label_python, make_app, bundles, images):
    app = make_app({"hybrid": bundles["hybrid"]})
    tool = app / "bin" / "itkimage2segimage"  # MONAI Label downloads it where it is missing; it is not called here
    tool.parent.mkdir(exist_ok=True)
    tool.touch(mode=0o755)
    files = [images / f"{stem}.dcm" for stem in ("mono", "colour")]
    with dicomweb_server(files) as web:
        threading.Thread(target=web.serve_forever, daemon=True).start()
        settings = {
            "MONAI_LABEL_DICOMWEB_SEARCH_FILTER": '{"Modality": "US"}',
            "MONAI_LABEL_DICOMWEB_CACHE_PATH": str(app.parent / "cache"),
        }
        address = f"http://127.0.0.1:{web.server_port}"
        with Server(label_python, app, ["hybrid"], studies=address, **settings) as remote:
            assert remote.ask("GET", "/datastore/").json()["total"] == 2
            series = [str(pydicom.dcmread(path).SeriesInstanceUID) for path in files]
            assert remote.ask("POST", "/activelearning/first").json()["id"] == min(series)
            for path, uid in zip(files, series, strict=True):
                wanted = volume_of(server.infer("hybrid", path.stem, result_extension=".nrrd"), app.parent)
                got = volume_of(remote.infer("hybrid", uid, result_extension=".nrrd"), app.parent)
                np.testing.assert_array_equal(itk.array_from_image(got), itk.array_from_image(wanted))
                assert list(itk.spacing(got)) == pytest.approx(list(itk.spacing(wanted)))
        web.shutdown()


def test_active_learning_gives_images_without_label(server, masks):
    assert server.ask("POST", "/activelearning/first").json()["id"] == "colour"
    assert server.add_label("colour", masks["colour"]).json() == {"image": "colour", "label": "colour"}
    assert server.ask("POST", "/activelearning/first").json()["id"] == "grey"
    assert server.ask("POST", "/activelearning/random").json()["id"] not in ("", "colour")
    status = server.ask("GET", "/datastore/").json()
    assert (status["total"], status["completed"]) == (8, 1)
    server.remove_label("colour")


def test_what_is_refused(server, label_python, app):
    for stem in ("loop", "nowhere"):
        assert server.infer("hybrid", stem).status_code == 500
    again = Server(label_python, app, ["hybrid"], server.studies, server.port)
    done = subprocess.run(again.command, cwd=again.folder, env=again.env, capture_output=True, text=True, timeout=300)
    assert done.returncode != 0
    assert f"('127.0.0.1', {server.port}): address already in use" in done.stdout + done.stderr
