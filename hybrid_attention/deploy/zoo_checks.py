"""What MONAI's model zoo checks of a bundle, as a program: `python -m hybrid_attention.deploy.zoo_checks FOLDER`.

Reference:
    Project-MONAI/model-zoo, ci/verify_bundle.py; its schema for metadata is meta_schema_20240725.json.
"""

from __future__ import annotations

import json
import logging
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from hybrid_attention.engines.bundles import INFERENCE, METADATA, bundle_network
from hybrid_attention.engines.command_line import root_cause
from hybrid_attention.engines.trained_weights import BEST
from hybrid_attention.phantoms import write_phantom_dataset
from monai.bundle import ConfigWorkflow, ckpt_export, verify_net_in_out

FILES = ("LICENSE", METADATA, INFERENCE, f"models/{BEST}", "docs/README.md", "docs/data_license.txt")
REQUIRED = (
    *("schema", "version", "changelog", "monai_version", "pytorch_version", "numpy_version"),
    *("required_packages_version", "task", "description", "authors", "copyright", "network_data_format"),
)
TRAIN = "configs/train.yaml"


def check_files(folder: Path) -> str:
    """All files are there that the zoo asks for."""
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        raise ValueError(f"missing: {', '.join(missing)}")
    return f"{len(FILES)} required files"


def check_metadata(folder: Path) -> str:
    """The metadata have the required fields, and the changelog tells of the version."""
    metadata: dict[str, Any] = json.loads((folder / METADATA).read_text(encoding="utf-8"))
    missing = [name for name in REQUIRED if name not in metadata]
    if missing:
        raise ValueError(f"no {', '.join(missing)} in {METADATA}")
    if metadata["version"] not in metadata["changelog"]:
        raise ValueError(f"the changelog in {METADATA} does not tell of version {metadata['version']}")
    return f"version {metadata['version']}, {len(REQUIRED)} required fields"


def check_network(folder: Path) -> str:
    """The network takes and gives the shapes and values that the metadata promise."""
    verify_net_in_out(
        net_id="network_def", meta_file=str(folder / METADATA), config_file=str(folder / INFERENCE), device="cpu"
    )
    return "verify_net_in_out of network_def"


def check_torchscript(folder: Path) -> str:
    """The network with its weights becomes a TorchScript file that gives the same."""
    tensor = _input_format(folder)
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


def check_train_properties(folder: Path) -> str:
    """The training config has what MONAI asks of one."""
    return _properties(folder, "train", TRAIN)


def check_inference_properties(folder: Path) -> str:
    """The config for inference has what MONAI asks of one."""
    return _properties(folder, "infer", INFERENCE)


CHECKS: tuple[Callable[[Path], str], ...] = (
    check_files,
    check_metadata,
    check_network,
    check_torchscript,
    check_train_properties,
    check_inference_properties,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Check folders of bundles, a line a check.

    Args:
        arguments: the folders, `sys.argv` by default.

    Returns:
        Exit status: 0 when all checks pass, else 1.
    """
    folders = [Path(name) for name in (sys.argv[1:] if arguments is None else arguments)]
    if not folders:
        print(__doc__.splitlines()[0], file=sys.stderr)
        return 1
    logging.disable(logging.WARNING)
    failed = False
    for folder in folders:
        for check in CHECKS:
            name = f"{folder.name}: {check.__name__.removeprefix('check_').replace('_', ' ')}"
            try:
                print(f"ok     {name}: {check(folder)}", flush=True)
            except Exception as error:  # whatever a bundle's own code raises
                failed = True
                cause = root_cause(error)
                first = (str(cause).splitlines() or [""])[0]
                print(f"FAILED {name}: {type(cause).__name__}: {first}", flush=True)
    return int(failed)


def _properties(folder: Path, kind: str, config: str) -> str:
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


def _input_format(folder: Path) -> dict[str, Any]:
    metadata = json.loads((folder / METADATA).read_text(encoding="utf-8"))
    image: dict[str, Any] = metadata["network_data_format"]["inputs"]["image"]
    return image


if __name__ == "__main__":
    sys.exit(main())
