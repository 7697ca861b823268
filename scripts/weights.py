"""Release the weights of a run in a bundle, start a class head from weights for masks, or convert old weights.

python scripts/weights.py release runs/improved_fold0_128/han/seed_0/fold_0 hybrid --dataset_dir BUSI
python scripts/weights.py start_multi_task bundles/hybrid output/pretrained/multi_task
python scripts/weights.py transpose model.pt
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from hybrid_attention.data.writing import write_json
from hybrid_attention.deploy import export_whole
from hybrid_attention.engines import TrainedModel, find_weights, save_released_weights, save_weights
from hybrid_attention.engines.training_record import RECORD, read_record
from hybrid_attention.engines.weights import BEST, RELEASED, read_weights, weights_digest
from hybrid_attention.networks import HybridMultiTaskNet

WHOLE = "model.onnx"  # rewritten where the bundle has one
ROOT = Path(__file__).resolve().parents[1]
State = dict[str, torch.Tensor]
_OTHER = {"position.axes.0": "position.axes.1", "position.axes.1": "position.axes.0"}


def release(run: str, bundle: str, dataset_dir: list[str]) -> Path:
    """Write the weights of a run in half precision and in parts, with their record, to those of a bundle."""
    weights = find_weights(run)
    folder = ROOT / "bundles" / bundle / "models" / RELEASED
    first = save_released_weights(TrainedModel(weights, dataset_dir, "cpu").network, folder)
    record = json.loads(weights.with_name(RECORD).read_text(encoding="utf-8"))
    trained = {"trained_weights_sha256": record["weights_sha256"], "weights_sha256": weights_digest(first)}
    write_json(folder / RECORD, {**record, **trained})
    if (folder / WHOLE).is_file():
        export_whole(bundle, folder / WHOLE)
    return folder


def start_multi_task(source: str | Path, folder: str | Path, in_channels: int = 2) -> Path:
    """Write weights for HAN with a class head: those of a HAN for masks, and an untrained class head.

    The record beside them names the images that the masks were trained on, so that no later evaluation tests on them.
    """
    weights = find_weights(source)
    record = read_record(weights)
    if record is None:
        raise FileNotFoundError(f"{weights} has no record of its training: what it has seen is not known")
    torch.manual_seed(0)  # of the class head
    network = HybridMultiTaskNet(in_channels=in_channels)
    network.start_from_masks(read_weights(weights))
    path = Path(folder) / "models" / BEST
    save_weights(network, path)
    started = {"weights_sha256": weights_digest(path), "masks_sha256": record["weights_sha256"]}
    write_json(path.with_name(RECORD), {**record, **started, "recipe": {}})
    return path


def transpose(state: State) -> State:
    """Convert weights trained on images of shape (W, H), as all once were, to (H, W).

    The converted network gives the transposed output for the transposed image. Every kernel is transposed; in the
    position embedding of TAM, rows and columns change places, and so do the halves of the channels that each is added
    to. Those of `HybridLiteNet` must stay as they are: it transposed its images itself.
    """
    converted = {}
    for key, value in state.items():
        name, tam, within = key.rpartition(".tam.")
        if tam:
            if within.startswith("reduce.") and value.ndim:
                value = _swap_halves(value, value.shape[0], 0)
            elif within.endswith("weight") and value.ndim == 4:  # of what reads the reduced features
                value = _swap_halves(value, value.shape[1] // (3 if within.startswith("expand.") else 1), 1)
            key = name + tam + _OTHER.get(within, within)
        converted[key] = value.transpose(2, 3).contiguous() if value.ndim == 4 else value
    return converted


def _swap_halves(value: torch.Tensor, width: int, axis: int) -> torch.Tensor:
    """Swap the halves of the last `width` channels of an axis."""
    others, first, second = value.split([value.shape[axis] - width, width // 2, width // 2], axis)
    return torch.cat([others, second, first], axis)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    options = commands.add_parser("release", help="write bundles/NAME/models/released")
    options.add_argument("run", help="folder of the run")
    options.add_argument("bundle", help="folder name below bundles/")
    options.add_argument("--dataset_dir", required=True, nargs="+", help="the images, to know the split again")
    options = commands.add_parser("start_multi_task", help="weights for HAN with a class head to start from")
    options.add_argument("source", help="run, bundle or weight file of a HAN for masks")
    options.add_argument("folder", help="receives models/model.pt")
    options.add_argument("--in_channels", type=int, default=2, help="(%(default)s: grey and edges)")
    options = commands.add_parser("transpose", help="convert weights trained on images of shape (W, H), in place")
    options.add_argument("weights", nargs="+", type=Path, help="weight files, or the parts of one")
    given = parser.parse_args()
    if given.command == "release":
        for path in sorted(release(given.run, given.bundle, given.dataset_dir).iterdir()):
            print(f"{path.stat().st_size / 1e6:6.1f} MB {path}")
    elif given.command == "start_multi_task":
        print(start_multi_task(given.source, given.folder, given.in_channels))
    else:
        for path in given.weights:
            torch.save(transpose(torch.load(path, "cpu", weights_only=True)), path)


if __name__ == "__main__":
    main()
