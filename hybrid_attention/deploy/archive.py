"""Archives of bundles, which run without this project where the packages that their metadata name are installed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import hybrid_attention
from hybrid_attention.data.writing import atomic_path, write_json
from hybrid_attention.engines.bundles import INFERENCE, bundle_folder, bundle_network, other_network, weights_of
from hybrid_attention.engines.training_record import RECORD, read_record
from hybrid_attention.engines.weights import BEST, read_weights, save_whole, weights_digest
from hybrid_attention.prediction.bundles import METADATA
from monai.bundle import ConfigParser

_PACKAGE_FILES = {".py", ".csv", ".j2", ".css", ".js", ".typed"}
_HIDDEN = (".*", "__pycache__")
_LONG_AGO = (1980, 1, 1, 0, 0, 0)  # the earliest time in a ZIP file


def package(
    bundle: str | os.PathLike[str], out: str | os.PathLike[str], weights: str | os.PathLike[str] | None = None
) -> Path:
    """Write a bundle and the package as one archive, in the layout of MONAI's model zoo, and return its path.

    `NAME_vVERSION.zip` contains `NAME/` with `configs`, `docs`, `LICENSE`, `models/model.pt` (released parts are
    joined), the record of its training, and a copy of this package, which the configs find from any folder. The same
    files, weights and version of torch give the same bytes. The content is checked before the archive appears
    (`verify`), and the results are printed.

    Args:
        bundle: name or folder; see `bundle_folder`.
        out: folder of the archive.
        weights: see `weights_of`.

    Raises:
        FileNotFoundError: there are no weights.
        ValueError: there is no such bundle, the weights do not fit, or a check failed.
    """
    source = bundle_folder(bundle)
    path = weights_of(source, weights)
    if other := other_network(ConfigParser.load_config_file(source / INFERENCE), path):
        raise ValueError(
            f"{path} are weights of {other.get('_target_')}, not of the network in {source.name}'s {INFERENCE}: copy "
            "the bundle's folder, set network_def in its configs, and package that"
        )
    bundle_network(source, path)  # they fit
    version = json.loads((source / METADATA).read_text(encoding="utf-8"))["version"]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / source.name
        _fill(folder, source, path)
        print(verify(folder))
        archive = Path(out) / f"{source.name}_v{version}.zip"
        with atomic_path(archive) as file:
            write_archive(file, folder)
    return archive


def verify(bundle: str | os.PathLike[str]) -> str:
    """Run the checks of the model zoo on a packaged bundle, by its own copy of the code; return one line per check.

    The bundle is an archive, or the folder of an unpacked one. Its code is executed: verify only archives that you
    trust.

    Raises:
        ValueError: a check failed, the archive is damaged, or the folder contains no copy of the package.
    """
    if Path(bundle).is_file():
        with tempfile.TemporaryDirectory() as temporary:
            return verify(unpack_archive(bundle, temporary))
    folder = Path(bundle).resolve()
    if not (folder / "hybrid_attention").is_dir():
        raise ValueError(f"{bundle} is not a packaged bundle: it contains no copy of hybrid_attention")
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    words = [sys.executable, "-m", "hybrid_attention.deploy.zoo_checks", str(folder)]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, env=environment)
    if done.returncode != 0:
        failed = [line for line in done.stdout.splitlines() if line.startswith("FAILED")]
        raise ValueError(f"{bundle} fails the checks: " + ("; ".join(failed) or done.stderr[-2000:]))
    return done.stdout.strip()


def write_archive(path: Path, folder: Path) -> None:
    """Write a folder, without compiled Python files, as a zip file whose bytes depend only on names and contents."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:  # compressed bytes would depend on zlib's version
        for file in sorted(folder.rglob("*")):
            if file.is_file() and "__pycache__" not in file.parts:
                entry = zipfile.ZipInfo(file.relative_to(folder.parent).as_posix(), _LONG_AGO)
                entry.create_system = 3  # Unix, whose permissions follow
                entry.external_attr = 0o100644 << 16
                archive.writestr(entry, file.read_bytes())


def unpack_archive(path: str | os.PathLike[str], out: str | os.PathLike[str]) -> Path:
    """Unpack the bundle's folder of an archive, without files beside it, and return its path below `out`.

    Raises:
        ValueError: the file is not a bundle archive, is damaged, or has a path that leads out of its folder.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            if outside := [name for name in names if not _stays_inside(name)]:
                raise ValueError(f"{path} has a path that leads out of its folder: {outside[0]!r}")
            bundles = [top for top in {name.split("/")[0] for name in names} if top and f"{top}/{METADATA}" in names]
            if len(bundles) != 1:
                raise ValueError(f"{path} is not an archive of `hybrid-attention package`: no folder with {METADATA}")
            archive.extractall(out, [name for name in names if name.startswith(f"{bundles[0]}/")])
    except zipfile.BadZipFile as error:
        raise ValueError(f"{path} is damaged or not a ZIP archive: {error}") from None
    return Path(out) / bundles[0]


def _stays_inside(name: str) -> bool:
    parts = name.replace("\\", "/").split("/")
    return ":" not in parts[0] and parts[0] not in ("", ".") and ".." not in parts


def _fill(folder: Path, source: Path, weights: Path) -> None:
    """Copy the files of a bundle, with its weights as one file, and the package."""
    for name in ("configs", "docs"):
        shutil.copytree(source / name, folder / name, ignore=shutil.ignore_patterns(*_HIDDEN))
    shutil.copyfile(source / "LICENSE", folder / "LICENSE")
    model = folder / "models" / BEST
    model.parent.mkdir()
    save_whole({name: tensor.contiguous() for name, tensor in read_weights(weights).items()}, model)
    record = read_record(weights)
    if record is not None:
        write_json(model.with_name(RECORD), {**record, "weights_sha256": weights_digest(model)})
    home = Path(hybrid_attention.__file__).resolve().parent
    shutil.copytree(home, folder / home.name, ignore=_not_code)


def _not_code(place: str, names: list[str]) -> set[str]:
    """Return the names in a folder of the package that an archive does without: the page, models, what is hidden."""
    others = {name for name in names if Path(name).suffix not in _PACKAGE_FILES and Path(place, name).is_file()}
    page = {"static", "web"} if Path(place).name == "app" else set()
    return others | page | {"bundles"} | set(shutil.ignore_patterns(*_HIDDEN)(place, names))
