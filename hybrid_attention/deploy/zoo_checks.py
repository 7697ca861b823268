"""The checks of MONAI's model zoo, as a program: `python -m hybrid_attention.deploy.zoo_checks FOLDER`.

Reference:
    Project-MONAI/model-zoo, ci/verify_bundle.py; its schema for metadata is meta_schema_20240725.json.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from hybrid_attention.deploy.onnx_networks import first_line
from hybrid_attention.engines.bundles import INFERENCE, bundle_network
from hybrid_attention.engines.command_line import root_cause
from hybrid_attention.engines.weights import BEST
from hybrid_attention.phantoms import write_phantom_dataset
from hybrid_attention.prediction.bundles import METADATA
from monai.bundle import ConfigWorkflow, ckpt_export, verify_net_in_out

FILES = ("LICENSE", METADATA, INFERENCE, f"models/{BEST}", "docs/README.md", "docs/data_license.txt")
REQUIRED = (
    *("schema", "version", "changelog", "monai_version", "pytorch_version", "numpy_version"),
    *("required_packages_version", "task", "description", "authors", "copyright", "network_data_format"),
)
TRAIN = "configs/train.yaml"


def check_files(folder: Path) -> str:
    """Check that the bundle has all files that the zoo asks for."""
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        raise ValueError(f"missing: {', '.join(missing)}")
    return f"{len(FILES)} required files"


def check_metadata(folder: Path) -> str:
    """Check that the metadata have the required fields, and that the changelog contains the version."""
    metadata: dict[str, Any] = json.loads((folder / METADATA).read_text(encoding="utf-8"))
    missing = [name for name in REQUIRED if name not in metadata]
    if missing:
        raise ValueError(f"no {', '.join(missing)} in {METADATA}")
    if metadata["version"] not in metadata["changelog"]:
        raise ValueError(f"the changelog in {METADATA} does not contain version {metadata['version']}")
    return f"version {metadata['version']}, {len(REQUIRED)} required fields"


def check_network(folder: Path) -> str:
    """Check that input and output of the network are as in the metadata."""
    verify_net_in_out(
        net_id="network_def", meta_file=str(folder / METADATA), config_file=str(folder / INFERENCE), device="cpu"
    )
    return "verify_net_in_out of network_def"


def check_torchscript(folder: Path) -> str:
    """Check that the network with its weights can be exported as TorchScript and gives the same output."""
    metadata = json.loads((folder / METADATA).read_text(encoding="utf-8"))
    tensor = metadata["network_data_format"]["inputs"]["image"]
    image = torch.rand(1, tensor["num_channels"], *tensor["spatial_shape"])
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / "model.ts"
        ckpt_export(
            net_id="network_def",
            filepath=str(path),
            ckpt_file=str(folder / "models" / BEST),
            meta_file=str(folder / METADATA),
            config_file=str(folder / INFERENCE),
        )
        with torch.no_grad(), torch.jit.optimized_execution(False):
            exported = torch.jit.load(path).eval()(image)
            difference = (exported - bundle_network(folder)(image)).abs().max().item()
    if not difference < 1e-3:
        raise ValueError(f"the exported network differs by {difference:.2g} in a logit")
    return f"ckpt_export, largest difference {difference:.1g}"


def check_properties(folder: Path, kind: str, config: str) -> str:
    """Check the properties that MONAI requires of a config for training ("train") or inference ("infer")."""
    with tempfile.TemporaryDirectory() as temporary:
        images = write_phantom_dataset(Path(temporary) / "images", benign=10, malignant=6, normal=5, size=(96, 128))
        workflow = ConfigWorkflow(
            workflow_type=kind,
            config_file=str(folder / config),
            meta_file=str(folder / METADATA),
            logging_file=False,
            dataset_dir=str(images),
            output_dir=str(Path(temporary) / "results"),
        )
        workflow.initialize()
        missing = workflow.check_properties()
    if missing:
        raise ValueError(f"missing: {', '.join(missing)}")
    return f"check_properties of {config}"


CHECKS: dict[str, Callable[[Path], str]] = {
    "files": check_files,
    "metadata": check_metadata,
    "network": check_network,
    "torchscript": check_torchscript,
    "train properties": partial(check_properties, kind="train", config=TRAIN),
    "inference properties": partial(check_properties, kind="infer", config=INFERENCE),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Check the folder of a bundle, print one line per check, and return the exit status: 0 if all pass, else 1."""
    parser = argparse.ArgumentParser(prog="python -m hybrid_attention.deploy.zoo_checks", description=__doc__)
    parser.add_argument("folder", type=Path, help="of the bundle")
    folder = parser.parse_args(arguments).folder
    logging.disable(logging.WARNING)
    failed = False
    for kind, check in CHECKS.items():
        name = f"{folder.name}: {kind}"
        try:
            print(f"ok     {name}: {check(folder)}", flush=True)
        except Exception as error:  # anything that the bundle's own code raises
            failed, cause = True, root_cause(error)
            print(f"FAILED {name}: {type(cause).__name__}: {first_line(cause)}", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
