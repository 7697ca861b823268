r"""Time of inference on the CPU with PyTorch, ONNX Runtime and OpenVINO, and the differences of the masks.

By default, of HAN and MONAI's Attention U-Net and U-Net++; the name of a bundle stands for its network and weights:

    python scripts/benchmarks/inference.py --dataset_dir BUSI --out docs/results/benchmark_inference.json
    python scripts/benchmarks/inference.py --networks mtl_oca explainable --image_size 128
    python scripts/benchmarks/inference.py --networks hybrid_lite hybrid "U-Net of HAN's paper" \
        "FlexibleUNet, EfficientNet-B0" "nnU-Net, 6 stages" --variants "ONNX Runtime" --batch_size 8

The variants take turns, one batch per round, so that a slower machine affects all of them; the ratio is the median over
the rounds of the time of eager divided by that of the variant. Masks are compared on the test part of the bundle's
split; int8 is calibrated on images of its training part. Networks without trained weights are only timed.
"""

from __future__ import annotations

import argparse
import copy
import importlib.metadata
import itertools
import logging
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import torch
from hybrid_attention.data.writing import write_csv, write_json
from hybrid_attention.deploy.export import export_onnx, inference_form
from hybrid_attention.deploy.onnx_networks import ExportedNetwork, has_bf16
from hybrid_attention.deploy.quantize import quantize
from hybrid_attention.engines import PrecisionInferer, to_memory_format
from hybrid_attention.engines.bundles import bundle_folder, bundle_network, inference_parser
from hybrid_attention.engines.training_record import commit, processor
from hybrid_attention.prediction.bundles import own_bundles
from monai.bundle import ConfigParser
from torch import nn
from training import NETWORKS

Compute = Callable[[torch.Tensor], torch.Tensor]
EAGER = "eager"
VARIANTS = (
    EAGER,
    "channels_last",
    "bf16, channels_last",
    "torch.compile",
    "TorchScript, frozen",
    "ONNX Runtime",
    "ONNX Runtime, int8",
    "OpenVINO, fp32",
    "OpenVINO, bf16",
    "OpenVINO, int8",
)
DEFAULT = ("hybrid", "Attention U-Net", "U-Net++")
WARM_UP = 3
CALIBRATION = 32
COLUMNS = (
    *("network", "variant", "batch_size", "image_size", "milliseconds", "lower_quartile", "upper_quartile"),
    *("images_per_second", "ratio", "largest_difference", "equal_pixels", "dice", "dice_change", "failure"),
)
LIBRARIES = ("torch", "monai", "onnx", "onnxruntime", "openvino", "numpy")


class Images(NamedTuple):
    """Input of a bundle's network."""

    test: torch.Tensor  # (N, channels, H, W) of the test part
    masks: torch.Tensor  # (N, 1, H, W), true or false
    calibration: torch.Tensor  # (M, channels, H, W) of the training part


class Variants:
    """Make the variants of one network for batches like `example`; exported files in `folder` are shared.

    `calibration` holds images for int8, (channels, *spatial).
    """

    def __init__(
        self, network: nn.Module, example: torch.Tensor, calibration: Sequence[torch.Tensor], folder: Path, threads: int
    ) -> None:
        self.network, self.example, self.calibration = network.eval(), example, calibration
        self.folder, self.threads = folder, threads

    def make(self, name: str) -> Compute:
        """Return the function of one of `VARIANTS`; a ValueError if the processor does not support it."""
        if "bf16" in name and not has_bf16():
            raise ValueError("this processor does not compute in bf16")
        if "ONNX" in name or "OpenVINO" in name:
            path = self.folder / "network.onnx"
            if not path.is_file():
                export_onnx(self.network, path, self.example)
            if "int8" in name:
                exported, path = path, self.folder / "network_int8.onnx"
                if not path.is_file():
                    quantize(exported, path, self.calibration)
            if "ONNX" in name:
                return ExportedNetwork(path, "onnx", self.threads)
            return ExportedNetwork(path, "openvino", self.threads, "bf16" if "bf16" in name else "fp32")
        if name == "torch.compile":
            # a fixed size compiles to the fastest code
            return torch.compile(copy.deepcopy(self.network), dynamic=False)
        if "TorchScript" in name:
            with warnings.catch_warnings(), torch.no_grad():
                warnings.simplefilter("ignore")
                traced = torch.jit.trace(inference_form(self.network), self.example, check_trace=False)
                frozen: Compute = torch.jit.optimize_for_inference(torch.jit.freeze(traced))
            return frozen
        channels_last = "channels_last" in name
        network = to_memory_format(copy.deepcopy(self.network), channels_last)
        inferer = PrecisionInferer("bf16" if "bf16" in name else "fp32", channels_last)
        return lambda batch: inferer(batch, network)


def read_images(bundle: str, image_size: int, dataset_dir: str | None, count: int | None) -> Images:
    """Prepare images as the bundle's validation does; `count` test images are spread over the part."""
    parser = ConfigParser()
    parser.read_config(str(bundle_folder(bundle) / "configs" / "train.yaml"))
    given = {} if dataset_dir is None else {"dataset_dir": dataset_dir}
    parser.update({"bundle_root": str(bundle_folder(bundle)), "image_size": image_size, **given})
    split, prepare = (parser.get_parsed_content(name) for name in ("split", "validate#preprocessing"))

    def some(part: str, number: int | None) -> list[dict[str, Any]]:
        cases = list(split.part(part))
        step = 1 if number is None else max(1, len(cases) // number)
        return [prepare(dict(case)) for case in cases[::step][:number]]

    test = some("test", count)
    return Images(
        test=torch.stack([torch.as_tensor(case["image"]) for case in test]),
        masks=torch.stack([torch.as_tensor(case["label"]) > 0.5 for case in test]),
        calibration=torch.stack([torch.as_tensor(case["image"]) for case in some("train", CALIBRATION)]),
    )


def network_of(name: str) -> tuple[nn.Module, str, bool]:
    """Return a network, the bundle whose images it takes, and whether it is trained."""
    if name in NETWORKS and name not in own_bundles():
        torch.manual_seed(0)
        return NETWORKS[name]().eval(), "hybrid", False
    try:
        return bundle_network(bundle_folder(name)), name, True
    except FileNotFoundError:
        network: nn.Module = inference_parser(bundle_folder(name)).get_parsed_content("network_def")
        return network.eval(), name, False


def rounds(variants: Mapping[str, Compute], batch: torch.Tensor, repeats: int) -> dict[str, list[float]]:
    """Return the seconds of each variant per round, after some rounds for warm-up."""
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for number in range(WARM_UP + repeats):
        for name, compute in variants.items():
            start = time.perf_counter()
            compute(batch)
            if number >= WARM_UP:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def timing(own: Sequence[float], eager: Sequence[float]) -> dict[str, float]:
    """Return median and quartiles in milliseconds from seconds, and the median of the rounds' ratios to eager."""
    lower, median, upper = statistics.quantiles(own, n=4, method="inclusive") if len(own) > 1 else [own[0]] * 3
    ratio = statistics.median(one / other for one, other in zip(eager, own, strict=True))
    times = {"milliseconds": median, "lower_quartile": lower, "upper_quartile": upper}
    return {**{name: round(1e3 * seconds, 2) for name, seconds in times.items()}, "ratio": round(ratio, 3)}


def logits(compute: Compute, images: torch.Tensor, batch_size: int) -> torch.Tensor:
    """Return the lesion logits of images; the last batch is padded with its first image."""
    found = []
    for batch in images.split(batch_size):
        full = torch.cat([batch, batch[:1].expand(batch_size - len(batch), *batch.shape[1:])])
        found.append(compute(full)[: len(batch), :1].float().clone())
    return torch.cat(found)


def quality(own: torch.Tensor, eager: torch.Tensor, masks: torch.Tensor) -> dict[str, float]:
    """Compare logits, (N, 1, H, W), with those of eager, and masks with the ground truth.

    The Dice is the mean over the images with a lesion.
    """
    return {
        "largest_difference": float(f"{(own - eager).abs().max().item():.3g}"),
        "equal_pixels": round(((own > 0) == (eager > 0)).double().mean().item(), 7),
        "dice": round(mean_dice(own > 0, masks), 5),
        "dice_change": round(mean_dice(own > 0, masks) - mean_dice(eager > 0, masks), 5),
    }


def mean_dice(predicted: torch.Tensor, masks: torch.Tensor) -> float:
    """Return the mean Dice over images whose true mask isn't empty."""
    axes = (1, 2, 3)
    both, sizes = (predicted & masks).sum(axes), predicted.sum(axes) + masks.sum(axes)
    return (2 * both / sizes)[masks.any(-1).any(-1).any(-1)].mean().item()


def measure(name: str, chosen: argparse.Namespace) -> list[dict[str, Any]]:
    """Time the variants of one network and compare their masks; one row per variant, with the reason for a failure."""
    network, bundle, trained = network_of(name)
    images = read_images(bundle, chosen.image_size, chosen.dataset_dir, chosen.images)
    batch = torch.cat(list(itertools.islice(itertools.cycle(images.test.split(1)), chosen.batch_size)))
    failures: dict[str, str] = {}
    variants: dict[str, Compute] = {}
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        maker = Variants(network, batch, list(images.calibration), Path(folder), chosen.threads)
        for variant in dict.fromkeys((EAGER, *chosen.variants)):
            try:
                compute = maker.make(variant)
                compute(batch)
                variants[variant] = compute
            except Exception as error:  # not supported by processor, compiler or library
                failures[variant] = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
        seconds = rounds(variants, batch, chosen.repeats)
        found = {key: logits(one, images.test, chosen.batch_size) for key, one in variants.items()} if trained else {}
    rows = []
    for variant in (*variants, *failures):
        row = {"network": name, "variant": variant, "batch_size": chosen.batch_size, "image_size": chosen.image_size}
        if variant in variants:
            row |= timing(seconds[variant], seconds[EAGER])
            row["images_per_second"] = round(1e3 * chosen.batch_size / row["milliseconds"], 2)
        if variant in found:
            row |= quality(found[variant], found[EAGER], images.masks)
        rows.append(row | ({"failure": failures[variant]} if variant in failures else {}))
    return rows


def main() -> None:
    """Measure every network, print the table and write the files."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--networks", nargs="+", default=list(DEFAULT), metavar="NAME", help="default: %(default)s")
    options.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS), metavar="NAME")
    options.add_argument("--image_size", type=int, default=256)
    options.add_argument("--batch_size", type=int, default=1)
    options.add_argument("--threads", type=int, default=torch.get_num_threads(), help="default: %(default)s")
    options.add_argument("--repeats", type=int, default=15, help="timed rounds (default: %(default)s)")
    options.add_argument("--dataset_dir", help="folder in BUSI's layout (default: phantoms)")
    options.add_argument("--images", type=int, help="test images to compare masks on (default: all)")
    options.add_argument("--out", type=Path, help="JSON file for the results; a CSV file is written next to it")
    chosen = options.parse_args()
    logging.disable(logging.WARNING)
    torch.set_num_threads(chosen.threads)
    torch.set_flush_denormal(True)  # as in the other runtimes; otherwise untrained networks are ten times as slow
    facts = {
        "commit": commit(),
        "processor": processor(),
        "threads": chosen.threads,
        "images": "phantoms" if chosen.dataset_dir is None else Path(chosen.dataset_dir).name,
        "compared": "all" if chosen.images is None else chosen.images,
        "repeats": chosen.repeats,
        "versions": {name: importlib.metadata.version(name) for name in LIBRARIES},
    }
    rows: list[dict[str, Any]] = []
    for name in chosen.networks:
        rows += measure(name, chosen)
        if chosen.out:
            write_json(chosen.out, {"provenance": facts, "rows": rows})
            write_csv(chosen.out.with_suffix(".csv"), rows, list(COLUMNS))
    print(f"{facts['processor']}; batch {chosen.batch_size}, {chosen.image_size} px\n")
    print(pd.DataFrame(rows).to_string(index=False))


if __name__ == "__main__":
    main()
