"""Folders of the bundles that come with this package, and of their runs."""

from __future__ import annotations

from pathlib import Path

import hybrid_attention
from hybrid_attention import data, phantoms
from hybrid_attention.engines.overrides import config_files

METADATA = "configs/metadata.json"


def own_bundles() -> dict[str, Path]:
    """Return the folders of the bundles that come with this package, by name.

    They are those of the installed package, of its checkout, or the one unpacked archive that holds it.
    """
    package = Path(hybrid_attention.__file__).resolve().parent
    installed, home = [*package.glob(f"bundles/*/{METADATA}")], package.parent
    found = installed or [path for path in (home / METADATA, *home.glob(f"bundles/*/{METADATA}")) if path.is_file()]
    return {path.parents[1].name: path.parents[1] for path in found}


def run_folder(bundle_root: str) -> str:
    """Return the folder that the runs of a bundle write to unless told otherwise.

    Args:
        bundle_root: folder of the bundle.

    Returns:
        The same; for a bundle inside the installed package, a folder of its name in the working directory.
    """
    root, package = Path(bundle_root), Path(hybrid_attention.__file__).resolve().parent
    return str(Path.cwd() / root.name) if package in root.resolve().parents else bundle_root


def find_bundle_root(name: str) -> str:
    """Find the folder of a bundle, from any working directory and after the folder was moved.

    It is the folder above the `configs/` of the config file on the command line; where there is none (a workflow made
    in Python), the bundle of that name among `own_bundles`; else the working directory, MONAI's own convention.

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
    """Return the folder of synthetic phantoms in a bundle's folder, which are written when they are first looked at.

    Args:
        bundle_root: folder of the bundle.
    """
    return data.OnDemand(lambda: phantoms.write_phantom_dataset(run_folder(bundle_root) + "/data/phantoms"))
