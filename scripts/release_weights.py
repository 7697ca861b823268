"""Put the weights of a finished run into a bundle, in half precision and in parts, with the record of their training.

python scripts/release_weights.py runs/improved_fold0_128/han/seed_0/fold_0 hybrid --dataset_dir BUSI
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from hybrid_attention.data.files import write_json
from hybrid_attention.deploy import export_whole
from hybrid_attention.engines import TrainedRun, find_weights, save_released_weights
from hybrid_attention.engines.run_record import RECORD
from hybrid_attention.engines.trained_weights import RELEASED, weights_digest

WHOLE = "model.onnx"  # rewritten where the bundle has one
ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    """Write `bundles/NAME/models/released`."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("run", help="folder of the run")
    options.add_argument("bundle", help="folder name below bundles/")
    options.add_argument("--dataset_dir", required=True, nargs="+", help="the images, to know the split again")
    given = options.parse_args()
    weights = find_weights(given.run)
    folder = ROOT / "bundles" / given.bundle / "models" / RELEASED
    folder.mkdir(parents=True, exist_ok=True)
    first = save_released_weights(TrainedRun(weights, given.dataset_dir, "cpu").network, folder)
    record = json.loads(weights.with_name(RECORD).read_text(encoding="utf-8"))
    trained = {"trained_weights_sha256": record["weights_sha256"], "weights_sha256": weights_digest(first)}
    write_json(folder / RECORD, {**record, **trained})
    if (folder / WHOLE).is_file():
        export_whole(given.bundle, folder / WHOLE)
    print("\n".join(f"{path.stat().st_size / 1e6:6.1f} MB {path}" for path in sorted(folder.iterdir())))


if __name__ == "__main__":
    main()
