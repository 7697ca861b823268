"""Archives of all bundles, unpacked where this project is not installed."""

import json
import shutil
import zipfile
from functools import cache

import pytest
import torch
from hybrid_attention.deploy import archive as archive_module
from hybrid_attention.deploy import zoo_checks
from hybrid_attention.deploy.archive import package, unpack_archive, verify
from hybrid_attention.engines import save_weights
from hybrid_attention.engines.bundles import bundle_folder, bundle_network, inference_parser
from hybrid_attention.engines.weights import weights_digest
from PIL import Image

from tests.bundles.commands import BUNDLES
from tests.deploy.bare_environment import bare_environment, run


@pytest.fixture(scope="module")
def untrained(tmp_path_factory):
    """A function that gives weights of a bundle's network as it is born: of the right shapes, and nothing else."""

    @cache
    def weights(name):
        path = tmp_path_factory.mktemp(name) / "model.pt"
        save_weights(inference_parser(bundle_folder(name), ckpt_path="nowhere").get_parsed_content("network_def"), path)
        return path

    return weights


@pytest.fixture(scope="module")
def archive(untrained, tmp_path_factory):
    """A function that gives the archive of a bundle; the check that it passes belongs to packing."""
    return cache(lambda name: package(name, tmp_path_factory.mktemp("archives"), untrained(name)))


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """Python of an environment with what the metadata of the bundles ask for."""
    names = {"monai", "torch"}
    for name in BUNDLES:
        metadata = json.loads((bundle_folder(name) / "configs/metadata.json").read_text())
        names |= set(metadata["required_packages_version"])
    return bare_environment(tmp_path_factory.mktemp("bare"), sorted(names))


@pytest.fixture
def unchecked(monkeypatch):
    monkeypatch.setattr(archive_module, "verify", lambda folder: "not checked")


def run_bundle(python, run_id, config, cwd, **options):
    words = ["-m", "monai.bundle", "run", run_id, "--config_file", config]
    done = run(python, *words, *(word for name, value in options.items() for word in (f"--{name}", value)), cwd=cwd)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.slow
@pytest.mark.parametrize("name", BUNDLES)
def test_archive_segments_where_this_project_is_not(name, archive, python, phantoms, tmp_path):
    folder, elsewhere = unpack_archive(archive(name), tmp_path), tmp_path / "elsewhere"
    assert folder == tmp_path / name
    absent = run(python, "-c", "import hybrid_attention", cwd=tmp_path)
    assert "No module named 'hybrid_attention'" in absent.stderr
    elsewhere.mkdir()
    shutil.copy(phantoms / "benign" / "benign (1).png", elsewhere / "image.png")
    config = f"../{name}/configs/inference.yaml"
    run_bundle(python, "inference", config, elsewhere, dataset_dir="image.png", output_dir="results")
    with Image.open(elsewhere / "results" / "image_mask.png") as mask:
        assert mask.size == (128, 96)
    assert not (folder / "predictions").exists()


@pytest.mark.slow
def test_archive_trains_where_this_project_is_not(archive, python, phantoms, tmp_path):
    config = unpack_archive(archive("hybrid"), tmp_path) / "configs/train.yaml"
    options = {"dataset_dir": phantoms, "output_dir": "run", "epochs": 1, "image_size": 32, "batch_size": 8}
    run_bundle(python, "training", config, tmp_path, **options)
    assert (tmp_path / "run" / "models" / "model.pt").is_file()


def test_same_files_same_bytes_and_no_leavings(untrained, unchecked, tmp_path):
    first, second = (package("mtl_oca", tmp_path / folder, untrained("mtl_oca")) for folder in "ab")
    assert first.name == second.name == "mtl_oca_v0.1.0.zip"
    assert first.read_bytes() == second.read_bytes()
    with zipfile.ZipFile(first) as archive:
        names = set(archive.namelist())
    assert {"mtl_oca/LICENSE", "mtl_oca/models/model.pt", "mtl_oca/hybrid_attention/data/busi_cases.csv"} <= names
    assert "mtl_oca/hybrid_attention/report/page.html.j2" in names
    assert not [name for name in names if "__pycache__" in name or "/." in name or "/data/phantoms/" in name]


def test_verify_runs_the_archives_own_code(untrained, unchecked, tmp_path):
    folder = unpack_archive(package("mtl_oca", tmp_path, untrained("mtl_oca")), tmp_path)
    (tmp_path / "hybrid_attention").mkdir()  # a neighbour, as in a checkout
    (tmp_path / "hybrid_attention" / "__init__.py").write_text("raise SystemExit('the neighbour was run')")
    (folder / "hybrid_attention" / "deploy" / "zoo_checks.py").write_text("print('ok     own code')")
    assert verify(folder) == "ok     own code"


def test_parts_of_released_weights_are_joined(unchecked, tmp_path):
    folder, released = unpack_archive(package("hybrid", tmp_path), tmp_path), bundle_folder("hybrid")
    record = json.loads((folder / "models" / "training.json").read_text())
    assert not (folder / "models" / "released").exists()
    assert record["recipe"] == json.loads((released / "models/released/training.json").read_text())["recipe"]
    packed, given = bundle_network(folder).state_dict(), bundle_network(released).state_dict()
    assert all(torch.equal(tensor, given[name]) for name, tensor in packed.items())


def test_weights_of_other_networks(untrained, tmp_path):
    out, weights = tmp_path / "out", tmp_path / "model.pt"
    with pytest.raises(ValueError, match="does not fit the network"):
        package("hybrid", out, untrained("mtl_oca"))
    save_weights(torch.nn.Linear(1, 1), weights)
    peer = {"_target_": "hybrid_attention.networks.baselines.segresnet"}  # which the config does not describe
    record = {"weights_sha256": weights_digest(weights), "recipe": {"network_def": peer}}
    (tmp_path / "training.json").write_text(json.dumps(record))
    with pytest.raises(ValueError, match=r"are weights of .*baselines\.segresnet, not of the network in hybrid's"):
        package("hybrid", out, weights)
    assert not out.exists()


def test_a_failed_check_leaves_no_archive(untrained, tmp_path):
    broken = tmp_path / "mtl_oca"
    shutil.copytree(bundle_folder("mtl_oca"), broken, ignore=shutil.ignore_patterns("models", "data"))
    metadata = json.loads((broken / "configs/metadata.json").read_text())
    metadata["network_data_format"]["inputs"]["image"]["num_channels"] = 5
    metadata["version"] = "9.9.9"
    (broken / "configs/metadata.json").write_text(json.dumps(metadata))
    with pytest.raises(
        ValueError, match=r"(?s)FAILED mtl_oca: metadata: .*not contain version 9\.9\.9.*FAILED .*network"
    ):
        package(broken, tmp_path / "out", untrained("mtl_oca"))
    assert not (tmp_path / "out").exists()


def test_checks_find_what_is_missing(tmp_path, capsys):
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs/metadata.json").write_text('{"version": "1.0"}')
    assert zoo_checks.main([str(tmp_path)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 6
    assert all(line.startswith("FAILED") for line in lines)
    assert "missing: LICENSE, configs/inference.yaml" in lines[0]
    assert "no schema, changelog" in lines[1]


def archive_of(path, *names):
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, "x" * 1000)
    return path


@pytest.mark.parametrize(
    "names",
    [
        *(["hybrid/configs/metadata.json", name] for name in ("../evil.py", "hybrid/../../evil.py", "/evil.py")),
        *(["hybrid/configs/metadata.json", name] for name in ("C:/evil.py", "..\\evil.py")),
        *([f"{top}/configs/metadata.json"] for top in ("..", "a/../..", ".", "")),
    ],
)
def test_paths_out_of_the_folder_are_refused(names, tmp_path):
    with pytest.raises(ValueError, match="leads out of its folder"):
        unpack_archive(archive_of(tmp_path / "a.zip", *names), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_archives_from_elsewhere(tmp_path):
    path = archive_of(tmp_path / "a.zip", "hybrid/configs/metadata.json", "__MACOSX/hybrid/._configs")
    assert unpack_archive(path, tmp_path / "out") == tmp_path / "out/hybrid"
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["hybrid"]
    path = archive_of(tmp_path / "damaged.zip", "bundle/configs/metadata.json")
    path.write_bytes(path.read_bytes().replace(b"xxxx", b"xxxy"))
    for bundle, message in (
        (path, "damaged"),
        (archive_of(tmp_path / "other.zip", "a/b.txt"), r"not an archive of .*: no folder with configs/metadata\.json"),
        (__file__, "not a ZIP archive"),
        (bundle_folder("hybrid"), "not a packaged bundle: it contains no copy of hybrid_attention"),
    ):
        with pytest.raises(ValueError, match=message):
            verify(bundle)
