"""Write the result tables of the README from the per-case files under docs/results, or check that they are true.

python scripts/results_table.py            # write
python scripts/results_table.py --check    # exit 1 when a printed number is not what the files give
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

from hybrid_attention.evaluation import paired_tests
from hybrid_attention.report import Run, read_run
from hybrid_attention.report.matching import match_runs
from hybrid_attention.report.scores import paired_scores
from hybrid_attention.report.table import markdown_grid, percent, percent_interval, score_interval

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


def table(experiment: Path) -> str:
    """Lay out the runs of one experiment.

    Args:
        experiment: a folder with a folder for each run.

    Returns:
        Markdown.
    """
    runs = {
        name: read_run(f"{ROWS[name]}={experiment / name}")
        for name in ROWS
        if (experiment / name / "per_case.csv").is_file()
    }
    if not runs:
        raise ValueError(f"no run with a per_case.csv in {experiment}")
    first = next(iter(runs.values()))
    for name, run in runs.items():
        other = [key for key in _SAME if run.recorded(*key.split(".")) != first.recorded(*key.split("."))]
        if other:
            raise ValueError(f"{experiment}/{name} can't stand in one table with the others: {', '.join(other)} differ")
    size = first.recorded("settings", "image_size")
    rows = [
        (
            run.name,
            score_interval(run.summary["lesion_only"]["dice"]),
            percent(run.summary["lesion_only"]["dice"]["median"]),
            score_interval(run.summary["lesion_only"]["jaccard"]),
            percent(run.summary["pooled"]["dice"]["value"]),
            difference(run, runs.get(REFERENCE)),
        )
        for run in runs.values()
    ]
    header = (
        "network",
        "Dice",
        "median Dice",
        "Jaccard",
        "Dice, pooled over pixels",
        f"Dice minus {ROWS[REFERENCE]}'s",
    )
    return (
        f"{first.recorded('split')}; {size} x {size} pixels; mean of {first.recorded('lesion_cases')} images in "
        f"percent, 95 % interval by bootstrap over duplicate groups.\n\n{markdown_grid(header, rows)}"
    )


def difference(run: Run, reference: Run | None) -> str:
    """Print the mean paired difference of Dice and its interval in percent."""
    if reference is None or run is reference:
        return ""
    paired = paired_scores(match_runs([run, reference]))
    (test,) = paired_tests(paired.scores, paired.groups)
    return percent_interval(test.difference, test.low, test.high, signed=True)


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
