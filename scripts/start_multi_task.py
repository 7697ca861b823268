"""Weights for HAN with a class head to start from: those of a HAN for masks, and an untrained class head.

python scripts/start_multi_task.py bundles/hybrid output/pretrained/multi_task

The record beside them says what the masks were learned from, so that no later evaluation uses it as a test.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from hybrid_attention.data.files import write_json
from hybrid_attention.engines import find_weights, save_weights
from hybrid_attention.engines.run_record import RECORD, read_record
from hybrid_attention.engines.trained_weights import BEST, read_weights, weights_digest
from hybrid_attention.networks import HybridMultiTaskNet


def start_multi_task(source: str | Path, folder: str | Path, in_channels: int = 2, num_classes: int = 3) -> Path:
    """Write `FOLDER/models/model.pt` and the record of what the masks were learned from.

    Args:
        source: run, bundle or weight file of a HAN for masks, with its record.
        folder: receives the weights.
        in_channels: of the network that will start from them.
        num_classes: of the network that will start from them.

    Returns:
        The weight file.

    Raises:
        FileNotFoundError: there are no weights, or no record of them.
        ValueError: they are of another network.
    """
    weights = find_weights(source)
    record = read_record(weights)
    if record is None:
        raise FileNotFoundError(f"{weights} has no record of its training: what it has seen is not known")
    torch.manual_seed(0)  # of the class head
    network = HybridMultiTaskNet(in_channels=in_channels, num_classes=num_classes)
    network.start_from_masks(read_weights(weights))
    path = Path(folder) / "models" / BEST
    path.parent.mkdir(parents=True, exist_ok=True)
    save_weights(network, path)
    started = {"weights_sha256": weights_digest(path), "masks_sha256": record["weights_sha256"]}
    write_json(path.with_name(RECORD), {**record, **started, "recipe": {}})
    return path


def main() -> None:
    """Read the command line."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("source", help="run, bundle or weight file of a HAN for masks")
    options.add_argument("folder", help="receives models/model.pt")
    options.add_argument("--in_channels", type=int, default=2, help="(%(default)s: grey and edges)")
    options.add_argument("--num_classes", type=int, default=3, help="(%(default)s)")
    given = options.parse_args()
    print(start_multi_task(given.source, given.folder, given.in_channels, given.num_classes))


if __name__ == "__main__":
    main()
