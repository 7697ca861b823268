"""Commands that use trained models: predict, app, export, package, verify."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hybrid_attention.app import PORT, serve
from hybrid_attention.prediction.bundles import default_bundle

# of `hybrid_attention.deploy.with_backend`, which is not imported before it is needed
BACKENDS = ("auto", "torch", "onnx", "openvino")
_RUN, _OWN = "weight file or folder of a run", "(default: the bundle's own)"


def add_commands(commands: Any) -> None:
    """Add the commands to those of an argument parser."""
    predict = commands.add_parser("predict", help="segment an image or a folder of images")
    predict.add_argument(
        "images", metavar="IMAGES", help="PNG, JPEG, TIFF, WebP, NIfTI, DICOM or video file, or a folder"
    )
    predict.add_argument("--out", required=True, help="folder for masks, overlays and predictions.csv")
    predict.add_argument("--bundle", help="name or folder of a bundle (default: that of the weights, else hybrid_lite)")
    predict.add_argument("--weights", metavar="RUN", help=f"{_RUN}, or file of `export --whole` {_OWN}")
    backends = "inference backend; auto: torch on a GPU or for few images, else the fastest one installed"
    predict.add_argument("--backend", default="auto", choices=BACKENDS, help=backends)
    precisions = "auto: bf16 where the processor supports it, else fp32"
    predict.add_argument("--precision", default="auto", choices=("auto", "fp32", "bf16"), help=precisions)
    threshold = "probability threshold (default: that of the settings, else 0.5)"
    predict.add_argument("--threshold", type=float, help=threshold)
    settings = "inference_settings.json of `calibrate`: flips, temperature and threshold"
    predict.add_argument("--inference_settings", metavar="FILE", help=settings)
    frames = "frames of videos and DICOM loops: all, middle, or numbers from 1 (default: all)"
    predict.add_argument("--frames", nargs="+", default=["all"], help=frames)
    smooth = "average the probabilities of a loop over N frames (odd)"
    predict.add_argument("--smooth", type=int, default=1, metavar="N", help=smooth)
    predict.add_argument(
        "--outputs",
        nargs="+",
        default=["mask", "overlay"],
        choices=("mask", "overlay", "probability", "uncertainty", "gradcam"),
        help="pictures per image: mask, overlay, probability map, entropy map, Grad-CAM (default: mask overlay)",
    )
    predict.add_argument("--dicom_seg", action="store_true", help="also write DICOM Segmentations for DICOM images")
    predict.add_argument("--dicom_sr", action="store_true", help="also write these and DICOM Structured Reports")
    predict.add_argument("--pdf", action="store_true", help="also write predictions.pdf, one page per image")
    predict.add_argument("--report", metavar="FILE", help="also write model, options, time and images as JSON")
    predict.set_defaults(run=_predict, show_log=True)

    app = commands.add_parser("app", help="open a web page that segments images; they do not leave this computer")
    app.add_argument(
        "--port", type=int, default=PORT, help="port of the local server (default: %(default)s; 0: any free one)"
    )
    app.add_argument("--no_browser", action="store_true", help="only print the address")
    app.set_defaults(run=lambda options: serve(options.port, not options.no_browser))

    export = commands.add_parser("export", help="write a bundle's network as ONNX or TorchScript")
    export.add_argument("bundle", help="name or folder of a bundle")
    export.add_argument("--out", required=True, metavar="FILE", help="output file: .onnx, .ts or .pt")
    export.add_argument("--weights", metavar="RUN", help=f"{_RUN} {_OWN}")
    export.add_argument(
        "--int8", metavar="IMAGES", help="quantize to int8, calibrated on these images (not test images)"
    )
    export.add_argument(
        "--whole", action="store_true", help="include pre- and post-processing: image in, mask and classes out (.onnx)"
    )
    export.set_defaults(run=_export)

    package = commands.add_parser("package", help="write a bundle as a self-contained archive")
    package.add_argument("bundle", help="name or folder of a bundle")
    package.add_argument("--out", required=True, help="folder for the archive")
    package.add_argument("--weights", metavar="RUN", help=f"{_RUN} {_OWN}")
    package.set_defaults(run=_package)

    verify = commands.add_parser("verify", help="run the checks of MONAI's model zoo on an archive; executes its code")
    verify.add_argument("archive", help="archive or unpacked folder")
    verify.set_defaults(run=_verify)


def _predict(options: argparse.Namespace) -> None:
    import logging
    import warnings

    from hybrid_attention.data.folders import image_datalist
    from hybrid_attention.loading import load_model
    from hybrid_attention.prediction.predict_folder import predict_folder

    # no messages on random weights, which the trained ones replace, nor on a missing decoder for GPUs
    logging.getLogger("hybrid_attention.networks").setLevel(logging.WARNING)
    logging.getLogger("monai").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", message="NvImgCodec")
    start, frames = time.perf_counter(), _frames(options.frames)
    if options.smooth != 1 and frames != "all":
        raise ValueError(f"--smooth needs all frames of a loop, got --frames {' '.join(options.frames)}")
    cases = image_datalist(options.images, results=options.out, frames=frames)
    model = load_model(
        os.path.abspath(options.weights) if options.weights else options.bundle,  # a path, never a bundle's name
        bundle=options.bundle if options.weights else None,
        images=len(cases),
        gradcam="gradcam" in options.outputs,
        **{name: getattr(options, name) for name in ("backend", "threshold", "precision", "inference_settings")},
    )
    chosen = {name: getattr(options, name) for name in ("outputs", "pdf", "dicom_seg", "dicom_sr")}
    rows = predict_folder(model, cases, options.out, smoothing=options.smooth, **chosen)
    if options.report is not None:
        _write_report(options, {**model.facts, "threshold": model.threshold}, rows, time.perf_counter() - start)


def _write_report(
    options: argparse.Namespace, settings: dict[str, Any], rows: Sequence[dict[str, Any]], seconds: float
) -> None:
    from hybrid_attention import __version__
    from hybrid_attention.cli.info import facts
    from hybrid_attention.data.hashing import file_digest
    from hybrid_attention.data.writing import write_json

    given = {key: value for key, value in vars(options).items() if key not in ("command", "run", "show_log")}
    root = Path(options.images) if Path(options.images).is_dir() else Path(options.images).parent
    images = [{"sha256": file_digest([root / row["case_id"]]), **row} for row in rows]
    known = facts()
    write_json(
        options.report,
        {
            "version": __version__,
            "options": given,
            "settings": settings,
            "bundle": None if options.weights else known["bundles"].get(options.bundle or default_bundle()),
            "weights_sha256": settings["weights_sha256"],
            "packages": known["packages"],
            "processor": known["processor"],
            "seconds": round(seconds, 3),
            "images": images,
        },
    )


def _export(options: argparse.Namespace) -> None:
    from hybrid_attention.deploy import export_bundle, export_whole

    if options.whole:
        if options.int8:
            raise ValueError("--whole has no int8: leave one of --whole and --int8 out")
        exported = export_whole(options.bundle, options.out, options.weights)
        print(f"{exported.path}: probabilities differ by {exported.difference:.1g} at most")
        return
    exported = export_bundle(options.bundle, options.out, options.weights, options.int8)
    rounding = ", before rounding to int8" if options.int8 else ""
    print(f"{exported.path} ({exported.method}): logits differ by {exported.difference:.1g} at most{rounding}")


def _package(options: argparse.Namespace) -> None:
    from hybrid_attention.deploy import package

    print(package(options.bundle, options.out, options.weights))


def _verify(options: argparse.Namespace) -> None:
    from hybrid_attention.deploy import verify

    print(verify(options.archive))


def _frames(words: Sequence[str]) -> str | list[int]:
    if len(words) == 1 and words[0] in ("all", "middle"):
        return words[0]
    if not all(word.isdecimal() and int(word) > 0 for word in words):
        raise ValueError(f"--frames must be all, middle, or numbers from 1, got {' '.join(words)}")
    return sorted({int(word) for word in words})
