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
from tests.label.label_server import Server, environment, start_command

PICTURES = ["grey", "rgb", "rgba", "photo"]


def mask_of(answer):
    """The mask of a PNG answer, (H, W)."""
    _, file = answer
    assert file.name.endswith(".png"), file.name
    image = Image.open(io.BytesIO(file.content))
    assert (image.format, image.mode) == ("PNG", "L")
    return np.asarray(image)


def volume_of(answer, folder):
    path = folder / f"answer{answer[1].name[answer[1].name.index('.') :]}"
    path.write_bytes(answer[1].content)
    return itk.imread(path)


@pytest.fixture(scope="module")
def predicted(app, images, tmp_path_factory):
    """A function that gives the folder of what `python -m monai.bundle run inference` makes of the same images."""
    made = {}

    def predict(name):
        if name not in made:
            made[name] = tmp_path_factory.mktemp(name)
            options = ["--dataset_dir", images, "--output_dir", made[name], "--frames", "middle"]
            bundle("inference", [app / f"model/{name}/configs/inference.yaml"], *options)
        return made[name]

    return predict


def test_info_lists_all_bundles(server):
    info = server.ask("GET", "/info/").json()
    assert sorted(info["models"]) == sorted(info["trainers"]) == BUNDLES
    for model in info["models"].values():
        assert (model["type"], model["dimension"], model["version"]) == ("segmentation", 2, "0.1.0")
        assert next(iter(model["labels"])) == "lesion"
    assert sorted(info["strategies"]) == ["first", "random"]
    assert info["datastore"]["total"] == 8


@pytest.mark.parametrize("name", BUNDLES)
def test_masks_are_those_of_the_bundle(server, predicted, images, name):
    for stem in (*PICTURES, "mono", "colour", "region"):
        mask = mask_of(server.infer(name, stem))
        own = np.asarray(Image.open(predicted(name) / f"{stem}_mask.png"))
        assert mask.shape == own.shape, stem
        assert set(np.unique(mask)) == {0, 1}, stem
        assert ((mask == 1) == (own == 255)).mean() > 0.9999, stem


def test_modes_make_no_difference(server):
    masks = {
        stem: mask_of(server.infer("hybrid", stem)) for stem in ("grey", "rgb", "rgba", "mono", "colour", "region")
    }
    for stem in ("rgb", "rgba", "mono", "colour"):
        np.testing.assert_array_equal(masks[stem], masks["grey"])
    height, width = masks["grey"].shape
    np.testing.assert_array_equal(masks["region"][20 : 20 + height, 40 : 40 + width], masks["grey"])
    assert masks["region"].sum() == masks["grey"].sum() > 0


def test_classes_stand_in_the_answer(server, predicted):
    params, _ = server.infer("mtl_oca", "rgb")
    rows = {row["case_id"]: row for row in json.loads((predicted("mtl_oca") / "predictions.json").read_text())}
    own = {name: rows["rgb.png"][f"probability_{name}"] for name in ("benign", "malignant", "normal")}
    assert params["classification"] == pytest.approx(own, abs=1e-4)
    assert sum(params["classification"].values()) == pytest.approx(1, abs=1e-5)
    assert "classification" not in server.infer("hybrid", "rgb")[0]
    assert server.infer("mtl_oca", "photo", output="json").json()["classification"]


def test_volumes_lie_where_the_image_lies(server, images, tmp_path):
    request = {"result_extension": ".nrrd", "result_dtype": "uint8"}  # what 3D Slicer and OHIF ask for
    for stem in ("mono", "region"):
        volume, image = volume_of(server.infer("hybrid", stem, **request), tmp_path), itk.imread(images / f"{stem}.dcm")
        for of in (itk.size, itk.spacing, itk.origin):
            assert list(of(volume)) == pytest.approx(list(of(image)))
        np.testing.assert_array_equal(itk.array_from_image(volume)[0], mask_of(server.infer("hybrid", stem)))
    volume = volume_of(server.infer("hybrid", "rgb", **request), tmp_path)
    np.testing.assert_array_equal(itk.array_from_image(volume), mask_of(server.infer("hybrid", "rgb")))


def test_images_need_not_be_in_the_datastore(server, images):
    own = mask_of(server.infer("hybrid", "rgb"))
    np.testing.assert_array_equal(mask_of(server.infer("hybrid", file=images / "rgba.png")), own)
    np.testing.assert_array_equal(mask_of(server.infer("hybrid", file=images / "mono.dcm")), own)


def test_a_slice_that_dicomweb_was_converted_to(server, images, tmp_path):
    """MONAI Label's DICOMweb datastore hands NIfTI to the bundle."""
    pixels = np.asarray(Image.open(images / "grey.png")).T[..., None]
    affine = np.diag([-0.2, -0.3, 1, 1])
    nibabel.save(nibabel.Nifti1Image(pixels, affine), tmp_path / "slice.nii.gz")
    (tmp_path / "got.nii.gz").write_bytes(server.infer("hybrid", file=tmp_path / "slice.nii.gz")[1].content)
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


@pytest.mark.parametrize("stem", ["loop", "nowhere"])
def test_what_cannot_be_segmented_is_refused(server, stem):
    assert server.infer("hybrid", stem).status == 500


def test_active_learning_gives_images_without_label(server, masks):
    assert server.ask("POST", "/activelearning/first").json()["id"] == "colour"
    assert server.add_label("colour", masks["colour"]).json() == {"image": "colour", "label": "colour"}
    assert server.ask("POST", "/activelearning/first").json()["id"] == "grey"
    assert server.ask("POST", "/activelearning/random").json()["id"] not in ("", "colour")
    status = server.ask("GET", "/datastore/").json()
    assert (status["total"], status["completed"]) == (8, 1)
    server.remove_label("colour")


def test_a_port_in_use_is_named(server, label_python, app):
    command = start_command(label_python, app, server.studies, server.port, ["hybrid"])
    env = environment(server.folder)
    done = subprocess.run(command, cwd=server.folder, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode != 0
    assert f"('127.0.0.1', {server.port}): address already in use" in done.stdout + done.stderr
