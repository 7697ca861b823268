"""Commands on data sets: phantoms, splits, download, audit."""

from __future__ import annotations

import argparse
from typing import Any

_COUNTS = {"benign": 34, "malignant": 16, "normal": 10}


def add_commands(commands: Any) -> None:
    """Add the commands to those of an argument parser."""
    phantoms = commands.add_parser("phantoms", help="write synthetic images in BUSI's layout")
    phantoms.add_argument("folder", help="new folder")
    for name, count in _COUNTS.items():
        phantoms.add_argument(f"--{name}", type=int, default=count, help=f"number of {name} images (default: {count})")
    phantoms.add_argument(
        "--size", type=int, nargs=2, metavar=("HEIGHT", "WIDTH"), help="size of all images (default: varied)"
    )
    phantoms.add_argument(
        "--echogenicity",
        default="hypoechoic",
        help="hypoechoic lesions, or mixed: half of the solid ones no darker than the tissue (default: %(default)s)",
    )
    phantoms.add_argument("--seed", type=int, default=0, help="random seed (default: %(default)s)")
    phantoms.set_defaults(run=_write_phantoms)

    splits = commands.add_parser("splits", help="check a data set and write its leak-free split as CSV")
    splits.add_argument("folders", nargs="+", metavar="FOLDER", help="one or several folders of data sets")
    splits.add_argument("--out", required=True, help="CSV file to write, for --split_csv")
    splits.add_argument("--groups_csv", help="CSV file with the columns image_id and duplicate_group")
    splits.add_argument("--fold", type=int, default=0, help="test fold (default: %(default)s)")
    splits.add_argument("--num_folds", type=int, default=5, help="number of folds (default: %(default)s)")
    splits.add_argument("--all_classes", action="store_true", help="include normal images")
    splits.add_argument("--seed", type=int, default=0, help="seed of the folds, as --split_seed (default: %(default)s)")
    splits.set_defaults(run=_write_split)

    download = commands.add_parser("download", help="download and unpack a public data set; run again to resume")
    download.add_argument("name", choices=("bus_bra", "busi", "breast", "bus_uclm", "udiat"))
    download.add_argument("--out", required=True, help="folder for the data set, to be given as --dataset_dir")
    download.set_defaults(run=_download)

    audit = commands.add_parser("audit", help="find near-duplicates in a folder of images")
    audit.add_argument("folder", help="folder of ultrasound images, searched recursively")
    audit.add_argument("--out", required=True, help="folder for groups.csv, pairs.csv, summary and contact sheets")
    audit.add_argument("--split", help="CSV file of a split, with case_id and part, to measure its leakage")
    audit.add_argument("--seed", type=int, default=0, help="seed of the random splits for comparison")
    audit.set_defaults(run=_audit)


def _write_phantoms(options: argparse.Namespace) -> None:
    from hybrid_attention.phantoms import write_phantom_dataset

    counts = {name: getattr(options, name) for name in _COUNTS}
    size = None if options.size is None else tuple(options.size)
    root = write_phantom_dataset(
        options.folder, **counts, seed=options.seed, size=size, echogenicity=options.echogenicity
    )
    print(f"{sum(counts.values())} synthetic images in {root}; results on them say nothing about patients")


def _write_split(options: argparse.Namespace) -> None:
    from hybrid_attention.data import datalist, split_cases
    from hybrid_attention.data.writing import write_csv

    cases = datalist(options.folders, groups_csv=options.groups_csv)
    split = split_cases(cases, options.fold, options.num_folds, not options.all_classes, options.seed)
    parts = {part: getattr(split, part) for part in ("train", "validation", "test", "excluded")}
    rows = [{**case, "part": part} for part, own in parts.items() for case in own]
    columns = ["dataset", "case_id", "class", "group", "part"]
    write_csv(options.out, [{name: row[name] for name in columns} for row in rows], columns)
    counts = ", ".join(f"{len(own)} {part}" for part, own in parts.items())
    print(f"{split.rule}: {counts}; written to {options.out}")


def _download(options: argparse.Namespace) -> None:
    from hybrid_attention.data.download import SOURCES, download

    source = SOURCES[options.name]
    if source.files:
        print(f"{source.title}\n{source.terms}")
    print(f"unpacked in {download(options.name, options.out)}")


def _audit(options: argparse.Namespace) -> None:
    from hybrid_attention.audit import audit

    result = audit(options.folder, options.out, options.split, options.seed)
    print(f"{result.summary()}\nwritten to {options.out}")
