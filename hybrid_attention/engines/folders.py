"""Folders of the bundles of this package, and of their runs."""

from __future__ import annotations

from pathlib import Path

import hybrid_attention
from hybrid_attention import data, phantoms
from hybrid_attention.engines.overrides import config_files

METADATA = "configs/metadata.json"


def own_bundles() -> dict[str, Path]:
    """Return the folders of this package's bundles, by name.

    They are those of the installed package, of its checkout, or the unpacked archive that contains it.
    """
    package = Path(hybrid_attention.__file__).resolve().parent
    installed, home = [*package.glob(f"bundles/*/{METADATA}")], package.parent
    found = installed or [path for path in (home / METADATA, *home.glob(f"bundles/*/{METADATA}")) if path.is_file()]
    return {path.parents[1].name: path.parents[1] for path in found}


def run_folder(bundle_root: str) -> str:
    """Return the default output folder for the runs of a bundle.

    Args:
        bundle_root: folder of the bundle.

    Returns:
        The bundle's folder; for a bundle of the installed package, a folder of its name in the working directory.
    """
    root, package = Path(bundle_root), Path(hybrid_attention.__file__).resolve().parent
    return str(Path.cwd() / root.name) if package in root.resolve().parents else bundle_root


def find_bundle_root(name: str) -> str:
    """Find the folder of a bundle, from any working directory and after the folder was moved.

    It is the parent of the `configs/` folder of the config file on the command line; without one (a workflow created
    in Python), the bundle of that name in `own_bundles`; else the working directory, as in MONAI.

    Args:
        name: folder name of the bundle below `bundles/`.

    Returns:
        Absolute path.
    """
    files = config_files()
    if files and files[0].is_file() and files[0].resolve().parent.name == "configs":
        return str(files[0].resolve().parents[1])
    for folder in own_bundles().values():
        if folder.name == name or (folder / "hybrid_attention").is_dir():  # an archive's folder may have another name
            return str(folder)
    return str(Path.cwd())


def default_images(bundle_root: str) -> data.OnDemand:
    """Return the folder of synthetic phantoms in a bundle's folder, which are written on first use.

    Args:
        bundle_root: folder of the bundle.
    """
    return data.OnDemand(lambda: phantoms.write_phantom_dataset(run_folder(bundle_root) + "/data/phantoms"))
