"""A bundle that takes no time: run as a script it is one step, imported it gives the command of the step.

The options of the run say how it behaves: `early_stop_patience: 7` fails, `batch_size: N` trains N more epochs a call
before it hangs (to be killed).
"""

import csv
import json
import sys
import time
from pathlib import Path

PROVENANCE = {"commit": "abc", "torch": "2", "processor": "none", "accelerator": None}


def command(run, step, dataset_dir, folder):
    options = {"epochs": run.epochs, "fold": run.fold, **run.options}
    return [__file__, step, str(folder), json.dumps(options)]


def train(folder, options):
    path = folder / "history.csv"
    rows = list(csv.DictReader(open(path))) if path.is_file() else []
    end = min(options["epochs"], len(rows) + options.get("batch_size", 1000))
    rows += [{"epoch": epoch, "seconds": 2.0} for epoch in range(len(rows) + 1, end + 1)]
    (folder / "models").mkdir(exist_ok=True)
    record = {
        "epoch": 1,
        "images": {"training": ["a"] * 10, "validation": ["b"]},
        "data_sha256": {"training": "t", "validation": "v"},
        "provenance": PROVENANCE,
    }
    (folder / "models" / "training.json").write_text(json.dumps(record))
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, ["epoch", "seconds"])
        writer.writeheader()
        writer.writerows(rows)
    if options.get("early_stop_patience") == 7:
        sys.exit("first line\nThe cause: ValueError: no luck")
    if end < options["epochs"]:
        time.sleep(60)


def evaluate(part, folder):
    out = folder / ("evaluation" if part == "test" else f"evaluation_{part}")
    out.mkdir(exist_ok=True)
    summary = {
        "cases": 1,
        "synthetic_data": True,
        "data_sha256": "d",
        "weights_sha256": "w",
        "provenance": PROVENANCE,
        "part": part,
    }
    (out / "summary.json").write_text(json.dumps(summary))
    (out / "per_case.csv").write_text("case_id\na\n")
    (out / "summary.md").write_text("table")
    if part == "test":
        (out / "roc.csv").write_text("x\n1\n")


if __name__ == "__main__":
    step, folder, options = sys.argv[1], Path(sys.argv[2]), json.loads(sys.argv[3])
    print(f"this is {step}")
    if step == "training":
        train(folder, options)
    else:
        evaluate(step, folder)
