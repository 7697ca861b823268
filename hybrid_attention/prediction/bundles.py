"""Where the bundles of this package are."""

from __future__ import annotations

from pathlib import Path

import hybrid_attention

METADATA = "configs/metadata.json"
DEFAULT_BUNDLE = "hybrid_lite"


def own_bundles() -> dict[str, Path]:
    """Return the folders of this package's bundles, by name.

    They are in the installed package or its checkout, or are the unpacked archive that contains the package.
    """
    package = Path(hybrid_attention.__file__).resolve().parent
    installed, home = [*package.glob(f"bundles/*/{METADATA}")], package.parent
    found = installed or [path for path in (home / METADATA, *home.glob(f"bundles/*/{METADATA}")) if path.is_file()]
    return {path.parents[1].name: path.parents[1] for path in sorted(found)}


def default_bundle() -> str:
    """Return the name of the bundle that predicts if none is named: `hybrid_lite`, or the one that an archive holds."""
    own = own_bundles()
    return next(iter(own)) if len(own) == 1 else DEFAULT_BUNDLE
