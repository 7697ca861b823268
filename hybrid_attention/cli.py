"""The command line tool `hybrid-attention`, for all that `python -m monai.bundle` does not do."""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Callable, Sequence

from hybrid_attention import __version__

# commands and options of earlier versions
RENAMED = {"reliability": "calibrate", "--decision": "--inference_settings"}
# of `hybrid_attention.deploy.run_on`, which is not imported before it is needed
BACKENDS = ("auto", "torch", "onnx", "openvino")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: words after the program's name, `sys.argv` by default.

    Returns:
        Exit status: 0 when all went well, 1 after an error that is printed in one line; 1 and 3 of `experiments` mean
        that a run failed, and that the time is up.
    """
    words = sys.argv[1:] if arguments is None else list(arguments)
    words = [_with_underscores(word) for word in words]
    parser = argparse.ArgumentParser(prog="hybrid-attention", description=__doc__)
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    predict = commands.add_parser("predict", help="segment an image or a folder of images")
    predict.add_argument("images", metavar="IMAGES", help="PNG, JPEG, TIFF, WebP, NIfTI or DICOM file, or a folder")
    predict.add_argument("--out", required=True, help="folder of masks, overlays, probability maps and predictions.csv")
    predict.add_argument("--bundle", help="name or folder (default: bundle of the weights, else hybrid_lite)")
    predict.add_argument("--weights", metavar="RUN", help="weight file or folder of a run (default: the bundle's own)")
    predict.add_argument(
        "--backend",
        default="auto",
        choices=BACKENDS,
        help="inference backend; auto: torch on a GPU or for few images, else the fastest one installed",
    )
    predict.add_argument(
        "--precision",
        default="auto",
        choices=("auto", "fp32", "bf16"),
        help="auto: bf16 where the processor supports it, else fp32",
    )
    predict.add_argument("--threshold", type=float, help="probability threshold (default: of the settings, else 0.5)")
    predict.add_argument(
        "--inference_settings",
        metavar="FILE",
        help="inference_settings.json of `calibrate`: flips, temperature and threshold",
    )
    predict.add_argument(
        "--frames", nargs="+", default=["all"], help="of DICOM loops: all, middle, or numbers from 1 (default: all)"
    )
    predict.add_argument("--uncertainty", action="store_true", help="also write maps of the entropy per pixel")
    predict.add_argument("--gradcam", action="store_true", help="also write Grad-CAM heat maps")
    predict.add_argument("--dicom_seg", action="store_true", help="also write DICOM Segmentations for DICOM images")

    export = commands.add_parser("export", help="write a bundle's network as ONNX or TorchScript")
    export.add_argument("bundle", help="name or folder")
    export.add_argument("--out", required=True, metavar="FILE", help="output file, .onnx, .ts or .pt")
    export.add_argument("--weights", metavar="RUN", help="weight file or folder of a run (default: the bundle's own)")
    export.add_argument(
        "--int8", metavar="IMAGES", help="8-bit convolutions, calibrated on these images; do not use test images"
    )

    package = commands.add_parser("package", help="write a bundle as a self-contained archive")
    package.add_argument("bundle", help="name or folder")
    package.add_argument("--out", required=True, help="folder for the archive")
    package.add_argument("--weights", metavar="RUN", help="weight file or folder of a run (default: the bundle's own)")

    verify = commands.add_parser("verify", help="run the checks of MONAI's model zoo on an archive; executes its code")
    verify.add_argument("archive", help="archive, or its unpacked folder")

    phantoms = commands.add_parser("phantoms", help="write synthetic images in BUSI's layout")
    phantoms.add_argument("folder", help="new folder")
    phantoms.add_argument("--benign", type=int, default=34, help="images with a benign-looking lesion (%(default)s)")
    phantoms.add_argument("--malignant", type=int, default=16, help="with a malignant-looking lesion (%(default)s)")
    phantoms.add_argument("--normal", type=int, default=10, help="without a lesion (%(default)s)")
    phantoms.add_argument(
        "--size", type=int, nargs=2, metavar=("HEIGHT", "WIDTH"), help="size of all images (default: varied)"
    )
    phantoms.add_argument(
        "--echogenicity",
        default="hypoechoic",
        help="hypoechoic lesions, or mixed: half of the solid ones no darker than the tissue (default: %(default)s)",
    )
    phantoms.add_argument("--seed", type=int, default=0)

    splits = commands.add_parser("splits", help="check a data set and write its leak-free split as CSV")
    splits.add_argument("folders", nargs="+", metavar="FOLDER", help="folder of a data set, or several")
    splits.add_argument("--out", required=True, help="CSV file to write: dataset, case_id, class, group, part")
    splits.add_argument("--groups_csv", help="CSV file with image_id and duplicate_group")
    splits.add_argument("--fold", type=int, default=0)
    splits.add_argument("--num_folds", type=int, default=5)
    splits.add_argument("--all_classes", action="store_true", help="include normal images")
    splits.add_argument("--seed", type=int, default=0)

    download = commands.add_parser("download", help="download and unpack a public data set; repeat to resume")
    download.add_argument("name", choices=("bus_bra", "busi", "breast", "bus_uclm", "udiat"))
    download.add_argument("--out", required=True, help="folder for the data set, for --dataset_dir")

    audit = commands.add_parser("audit", help="find near-duplicates in a folder of images")
    audit.add_argument("folder", help="folder of ultrasound images, searched recursively")
    audit.add_argument("--out", required=True, help="folder for groups.csv, pairs.csv, summary and contact sheets")
    audit.add_argument("--split", help="CSV file with case_id and part, to measure its leakage")
    audit.add_argument("--seed", type=int, default=0, help="seed of the random splits for comparison")

    compare = commands.add_parser("compare", help="compare evaluation runs: tables, figures and an HTML page")
    compare.add_argument("runs", nargs="+", metavar="RUN", help="folder with per_case.csv, or NAME=FOLDER")
    compare.add_argument("--out", required=True, help="folder for the report")
    compare.add_argument("--intersection", action="store_true", help="compare only the cases that all runs share")
    compare.add_argument("--reference", metavar="NAME", help="test all other runs against this one, not all pairs")
    compare.add_argument("--score", default="dice", help="score for tests and figures (default: %(default)s)")

    merge = commands.add_parser("merge", help="merge the test folds of a cross-validation into one run")
    merge.add_argument("folds", nargs="+", metavar="FOLD", help="folder of one fold, with per_case.csv")
    merge.add_argument("--out", required=True, help="folder for the merged run")

    stress = commands.add_parser("stress", help="evaluate trained networks on degraded images")
    stress.add_argument("runs", nargs="+", metavar="RUN", help="folder of a trained run, or NAME=FOLDER")
    stress.add_argument("--dataset_dir", required=True, nargs="+", help="folder of the images, or several")
    stress.add_argument("--out", required=True, help="folder for the report")
    stress.add_argument("--groups_csv", help="CSV file of duplicate groups, as in training")
    stress.add_argument("--split_csv", help="CSV file of the split, as in training")
    stress.add_argument("--part", default="test", choices=("train", "validation", "test"), help="(%(default)s)")
    stress.add_argument(
        "--kinds",
        nargs="+",
        metavar="KIND",
        help="degradations: speckle, blur, gain, contrast, downscale, text, callipers (default: all)",
    )
    stress.add_argument("--seed", type=int, default=0, help="seed of the degradations")

    calibrate = commands.add_parser(
        "calibrate", help="choose threshold, temperature and test-time augmentation on validation images"
    )
    calibrate.add_argument("runs", nargs="+", metavar="RUN", help="folder of a trained run, or NAME=FOLDER")
    calibrate.add_argument("--dataset_dir", required=True, nargs="+", help="folder of the images, or several")
    calibrate.add_argument("--out", required=True, help="folder for tables, figure and pictures")
    calibrate.add_argument("--groups_csv", help="CSV file of duplicate groups, as in training")
    calibrate.add_argument("--split_csv", help="CSV file of the split, as in training")

    experiments = commands.add_parser("experiments", help="train and evaluate a list of runs; repeat to continue")
    experiments.add_argument("list", metavar="LIST", help="YAML file with the runs")
    experiments.add_argument("--dataset_dir", nargs="+", help="folder of the images, or several")
    experiments.add_argument("--out", required=True, metavar="RUNS", help="results go to RUNS/LIST/RUN/seed_S/fold_F")
    experiments.add_argument("--only", nargs="+", metavar="NAME", default=[], help="only these runs of the list")
    experiments.add_argument("--minutes", type=float, help="stop after this time with exit status 3")
    experiments.add_argument("--jobs", type=int, default=1, help="parallel runs (default: %(default)s)")
    experiments.add_argument("--threads", type=int, help="threads per run (default: physical cores / jobs)")
    experiments.add_argument("--dry_run", action="store_true", help="show state, time left and commands of each run")
    experiments.add_argument("--collect", metavar="FOLDER", help="only copy tables of finished runs to FOLDER/LIST/RUN")
    experiments.add_argument(
        "--report", metavar="FOLDER", help="only write a report of finished runs, FOLDER/LIST/report.html"
    )

    for stream in (sys.stdout, sys.stderr):  # a name that a terminal can't show must not decide the exit status
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    for word in words:
        old = word.partition("=")[0]
        if old in RENAMED and (old.startswith("--") or word == words[0]):
            parser.error(f"{old} is now called {RENAMED[old]}")
    options = parser.parse_args(words)
    run: dict[str, Callable[[argparse.Namespace], int | None]] = {
        "predict": _predict,
        "export": _export,
        "package": _package,
        "verify": _verify,
        "phantoms": _write_phantoms,
        "splits": _write_split,
        "download": _download,
        "audit": _audit,
        "compare": _compare,
        "merge": _merge,
        "experiments": _experiments,
        "stress": _stress,
        "calibrate": _calibrate,
    }
    try:
        return run[options.command](options) or 0
    except (OSError, ValueError, ImportError) as error:
        print(f"hybrid-attention: error: {error}", file=sys.stderr)
        return 1


def _with_underscores(word: str) -> str:
    """Spell an option as configs spell theirs, `--groups_csv`; `--groups-csv` is taken, too."""
    name, equals, value = word.partition("=")
    return (name.replace("-", "_").replace("__", "--", 1) if name.startswith("--") else name) + equals + value


def _predict(options: argparse.Namespace) -> None:
    import logging
    import warnings

    from hybrid_attention.quick_start import import_monai_quickly

    if not options.gradcam:
        import_monai_quickly()
    from hybrid_attention.deploy import Options, predict

    _tell_progress()
    # that encoders start from random weights, which the trained ones replace; that a decoder for GPUs is not there
    logging.getLogger("hybrid_attention.networks").setLevel(logging.WARNING)
    logging.getLogger("monai").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", message="NvImgCodec")
    extra = Options(
        threshold=options.threshold,
        inference_settings=options.inference_settings,
        precision=options.precision,
        frames=_frames(options.frames),
        uncertainty=options.uncertainty,
        gradcam=options.gradcam,
        dicom_seg=options.dicom_seg,
    )
    predict(options.images, options.out, options.bundle, options.weights, options.backend, extra)


def _tell_progress() -> None:
    import logging

    logging.basicConfig(format="%(message)s")
    logging.getLogger("hybrid_attention").setLevel(logging.INFO)


def _frames(words: Sequence[str]) -> str | list[int]:
    if len(words) == 1 and words[0] in ("all", "middle"):
        return words[0]
    if not all(word.isdecimal() and int(word) > 0 for word in words):
        raise ValueError(f"--frames takes all, middle, or numbers counted from 1, got {' '.join(words)}")
    return sorted({int(word) for word in words})


def _export(options: argparse.Namespace) -> None:
    from hybrid_attention.deploy import export_bundle

    exported = export_bundle(options.bundle, options.out, options.weights, options.int8)
    rounding = ", before rounding to int8" if options.int8 else ""
    print(f"{exported.path} ({exported.method}): logits differ by {exported.difference:.1g} at most{rounding}")


def _package(options: argparse.Namespace) -> None:
    from hybrid_attention.deploy import package

    print(package(options.bundle, options.out, options.weights))


def _verify(options: argparse.Namespace) -> None:
    from hybrid_attention.deploy import verify

    print(verify(options.archive))


def _audit(options: argparse.Namespace) -> None:
    from hybrid_attention.audit import audit

    result = audit(options.folder, options.out, options.split, options.seed)
    print(f"{result.summary()}\nwritten to {options.out}")


def _compare(options: argparse.Namespace) -> None:
    from hybrid_attention.report import compare

    page = compare(options.runs, options.out, options.intersection, options.reference, options.score)
    print(f"report: {page}")


def _merge(options: argparse.Namespace) -> None:
    from hybrid_attention.evaluation import merge_folds

    _tell_progress()
    merge_folds(options.folds, options.out)


def _experiments(options: argparse.Namespace) -> int:
    from hybrid_attention.experiments import Runner, collect, finished_groups, overview, read_runs, report

    runs = read_runs(options.list, options.out, options.only)
    if options.collect or options.report:
        if options.dry_run:
            raise ValueError("--dry_run shows what would be run: it goes with neither --collect nor --report")
        groups, failures = finished_groups(runs)
        if options.collect:
            folders = collect(groups, options.collect)
            print(f"{runs[0].experiment}: {len(folders)} folders of tables in {options.collect}/{runs[0].experiment}")
        if options.report and (page := report(groups, options.report)):
            print(f"report: {page}")
        if failures:
            head = "these folds can't be merged, all others are written; remove a fold's folder to run it anew:"
            raise ValueError("\n  ".join([head, *(f"{name}: {reason}" for name, reason in failures.items())]))
        return 0
    if not options.dataset_dir:
        raise ValueError("--dataset_dir is missing: the folder of the images")
    if options.dry_run:
        print(overview(runs, options.dataset_dir))
        return 0
    return Runner(runs, options.dataset_dir, options.minutes, options.jobs, options.threads)()


def _stress(options: argparse.Namespace) -> None:
    from hybrid_attention.report import stress

    _tell_progress()
    folder = stress(
        options.runs,
        options.dataset_dir,
        options.out,
        options.part,
        options.kinds,
        options.seed,
        options.groups_csv,
        options.split_csv,
    )
    print(f"tables and figures: {folder}")


def _calibrate(options: argparse.Namespace) -> None:
    from hybrid_attention.evaluation import calibrate
    from hybrid_attention.explain import write_uncertainty_pictures
    from hybrid_attention.report import write_calibration_figure

    _tell_progress()
    tables = {"groups_csv": options.groups_csv, "split_csv": options.split_csv}
    result = calibrate(options.runs, options.dataset_dir, options.out, **tables)
    write_calibration_figure(result, options.out)
    count = write_uncertainty_pictures(result, options.out)
    print(f"{result.text}\n{count} pictures, tables and calibration.png in {options.out}")


def _write_phantoms(options: argparse.Namespace) -> None:
    from hybrid_attention.phantoms import write_phantom_dataset

    counts = {name: getattr(options, name) for name in ("benign", "malignant", "normal")}
    size = None if options.size is None else tuple(options.size)
    root = write_phantom_dataset(
        options.folder, **counts, seed=options.seed, size=size, echogenicity=options.echogenicity
    )
    print(f"{sum(counts.values())} synthetic images in {root}; no result on them says anything on patients")


def _write_split(options: argparse.Namespace) -> None:
    from hybrid_attention.data import datalist, split_cases
    from hybrid_attention.data.files import write_csv

    cases = datalist(options.folders, groups_csv=options.groups_csv)
    split = split_cases(cases, options.fold, options.num_folds, not options.all_classes, options.seed)
    columns = ["dataset", "case_id", "class", "group"]
    rows = [
        {**{name: case[name] for name in columns}, "part": part}
        for part in ("train", "validation", "test", "excluded")
        for case in getattr(split, part)
    ]
    write_csv(options.out, rows, [*columns, "part"])
    counts = ", ".join(f"{len(getattr(split, part))} {part}" for part in ("train", "validation", "test", "excluded"))
    print(f"{split.rule}: {counts}; written to {options.out}")


def _download(options: argparse.Namespace) -> None:
    from hybrid_attention.data.download import SOURCES, download

    source = SOURCES[options.name]
    if source.files:
        print(f"{source.title}\n{source.terms}")
    print(f"unpacked in {download(options.name, options.out)}")
