"""Write the result tables of the README from the per-case files under docs/results, or check that they are true.

python scripts/results_table.py            # write
python scripts/results_table.py --check    # exit 1 when a printed number is not what the files give
"""

from __future__ import annotations

import argparse
import csv
import json
import re
import sys
from pathlib import Path
from typing import Any

from hybrid_attention.evaluation import bootstrap_ratio, summarize
from hybrid_attention.evaluation.metrics import COUNTS

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "docs" / "results"
PAGES = (ROOT / "README.md", ROOT / "bundles" / "hybrid" / "docs" / "README.md")
ROWS = {
    "unet": "U-Net",
    "baseline": "Baseline (BL)",
    "convblock": "BL + ConvBlock",
    "sfeb": "BL + ConvBlock + SFEB",
    "han": "BL + ConvBlock + SFEB + TAM (HAN)",
}
REFERENCE = "unet"
# what must be one in all rows of a table
_SAME = (
    "split",
    "settings",
    "synthetic_data",
    "lesion_cases",
    "provenance.overrides.epochs",
    "provenance.config_files",
)


def read_run(folder: Path) -> dict[str, Any]:
    """Read one run and recompute its summary from the per-case file.

    Args:
        folder: holds `per_case.csv` and `summary.json`.

    Returns:
        `rows`, `summary` (recomputed) and `record` (as committed).

    Raises:
        ValueError: the committed summary is not what the per-case file gives.
    """
    with open(folder / "per_case.csv", newline="", encoding="utf-8") as file:
        rows: list[dict[str, Any]] = [
            {**row, **{name: int(row[name]) for name in COUNTS}} for row in csv.DictReader(file)
        ]
    record = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    summary = summarize(rows)
    for convention in ("lesion_only", "pooled"):
        # as text, since NaN equals nothing
        if json.dumps(summary[convention]) != json.dumps(record[convention]):
            raise ValueError(f"{folder}/summary.json is not what per_case.csv gives ({convention})")
    return {"rows": rows, "summary": summary, "record": record}


def table(experiment: Path) -> str:
    """Lay out the runs of one experiment.

    Args:
        experiment: a folder with a folder for each run.

    Returns:
        Markdown.
    """
    runs = {name: read_run(experiment / name) for name in ROWS if (experiment / name / "per_case.csv").is_file()}
    if not runs:
        raise ValueError(f"no run with a per_case.csv in {experiment}")
    first = next(iter(runs.values()))["record"]
    for name, run in runs.items():
        other = [key for key in _SAME if _lookup(run["record"], key) != _lookup(first, key)]
        if other:
            raise ValueError(f"{experiment}/{name} can't stand in one table with the others: {', '.join(other)} differ")
    size = first["settings"]["image_size"]
    lines = [
        f"{first['split']}; {size} x {size} pixels; mean of {first['lesion_cases']} images in percent, "
        "95 % interval by bootstrap over duplicate groups.",
        "",
        f"| network | Dice | median Dice | Jaccard | Dice, pooled over pixels | Dice minus {ROWS[REFERENCE]}'s |",
        "|---|---|---|---|---|---|",
    ]
    for name, run in runs.items():
        single, pooled = run["summary"]["lesion_only"], run["summary"]["pooled"]
        lines.append(
            f"| {ROWS[name]} | {interval(single['dice'])} | {100 * single['dice']['median']:.1f} "
            f"| {interval(single['jaccard'])} | {100 * pooled['dice']['value']:.1f} "
            f"| {difference(run, runs.get(REFERENCE)) if name != REFERENCE else ''} |"
        )
    return "\n".join(lines)


def _lookup(record: dict[str, Any], key: str) -> Any:
    value: Any = record
    for part in key.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def interval(score: dict[str, float]) -> str:
    """Print a mean and its interval in percent."""
    return f"{100 * score['mean']:.1f} [{100 * score['low']:.1f}, {100 * score['high']:.1f}]"


def difference(run: dict[str, Any], reference: dict[str, Any] | None) -> str:
    """Print the mean paired difference of Dice and its interval in percent."""
    if reference is None:
        return ""
    other = {row["case_id"]: float(row["dice"]) for row in reference["rows"]}
    differences = [float(row["dice"]) - other[row["case_id"]] for row in run["rows"]]
    groups = [row["group"] for row in run["rows"]]
    mean, low, high = bootstrap_ratio(differences, [1.0] * len(differences), groups)
    return f"{100 * mean:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]"


def benchmark_rows() -> list[dict[str, Any]]:
    """Return the rows that `benchmark_training.py` wrote."""
    content = json.loads((RESULTS / "benchmark_training.json").read_text(encoding="utf-8"))
    return list(content["rows"])


def benchmark_table() -> str:
    """Lay out time and memory of the training step."""
    lines = [
        "| image size | precision | images/s | forward | backward | optimizer | data | peak memory |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in benchmark_rows():
        total = sum(row["seconds"].values())
        shares = [
            f"{100 * row['seconds'][part] / total:.1f} %" for part in ("forward", "backward", "optimizer", "data")
        ]
        precision = row["precision"] + (", channels_last" if row["channels_last"] else "")
        cells = [row["image_size"], precision, row["images_per_second"], *shares, f"{row['peak_memory_gib']} GiB"]
        lines.append(f"| {' | '.join(str(cell) for cell in cells)} |")
    return "\n".join(lines)


def speedup() -> str:
    """Say how much faster the fast path of the benchmark is."""
    rates = {(row["image_size"], row["precision"]): row["images_per_second"] for row in benchmark_rows()}
    return ", ".join(f"{rates[size, 'bf16'] / rates[size, 'fp32']:.1f} times at {size}" for size in (256, 128))


def filled(page: str) -> str:
    """Return a page with the text between its markers replaced by what the files give.

    Args:
        page: Markdown with pairs of `<!-- results EXPERIMENT -->`, `<!-- benchmark -->` or `<!-- speed -->` and
            `<!-- end of … -->`.

    Returns:
        The page.
    """

    def content(found: re.Match[str]) -> str:
        start, kind, experiment, end = found.group("start", "kind", "experiment", "end")
        if kind == "speed":
            return f"{start}{speedup()}{end}"
        text = benchmark_table() if kind == "benchmark" else table(RESULTS / experiment)
        return f"{start}\n{text}\n{end}"

    return re.sub(
        r"(?P<start><!-- (?P<kind>results|benchmark|speed)(?: (?P<experiment>\w+))? -->)"
        r".*?(?P<end><!-- end of (?P=kind) -->)",
        content,
        page,
        flags=re.S,
    )


def main() -> int:
    """Write or check the pages."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--check", action="store_true")
    check = options.parse_args().check
    stale = []
    for path in PAGES:
        old = path.read_text(encoding="utf-8")
        new = filled(old)
        if new != old:
            stale.append(path)
            if not check:
                path.write_text(new, encoding="utf-8")
    if check and stale:
        print(f"not what docs/results gives: {', '.join(str(path) for path in stale)}; run scripts/results_table.py")
        return 1
    print(f"{'checked' if check else 'written'}: {len(PAGES)} pages, {len(stale)} changed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
