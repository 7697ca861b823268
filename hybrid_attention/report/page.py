"""The report as one self-contained HTML file, with the pictures of its case browser.

Image and ground truth are stored once per case; each run adds its mask and, at half the size, its probability map and
Grad-CAM. The overlays are composed in the browser, which also scales the maps to the image.
"""

from __future__ import annotations

import base64
import io
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hybrid_attention.evaluation.formatting import Table, plural, score_title
from hybrid_attention.evaluation.metrics.segmentation import COUNTS, has_lesion
from hybrid_attention.evaluation.results import LEFT_OUT, Evaluation, picture_path, warnings_of
from hybrid_attention.evaluation.summary import CONVENTIONS
from hybrid_attention.prediction.overlay import FALSE_NEGATIVE, FALSE_POSITIVE, TRUE_POSITIVE
from hybrid_attention.report.figures import Drawing
from hybrid_attention.report.matched_runs import SHOWN_SCORES, Comparison
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape
from PIL import Image

LONG_SIDE = 256
_ALPHA = 0.45
_NEEDED = ("images", "truths", "masks")
_QUALITY = {"image": 80, "map": 60}

Row = Mapping[str, Any]


def render(
    comparison: Comparison,
    facts: Sequence[str],
    tables: Mapping[str, Sequence[Table]],
    figures: Mapping[str, Drawing],
    pictures: Mapping[str, Sequence[str]],
    cases: Sequence[str],
    footer: str,
    differences: Sequence[str] = (),
    why_no_tests: str = "",
) -> str:
    """Return the page as HTML.

    `facts` are sentences at the top; the sections of the tables are Summary, Significance, Classes, All scores, Runs
    and settings; `pictures` holds by run its `picture_kinds`; `cases` are from `embedded_cases`.
    """
    from matplotlib import colormaps

    def colour_map(name: str) -> list[int]:
        """Return 256 colours as red, green, blue, one after the other."""
        return [int(level) for colour in colormaps[name](range(256), bytes=True) for level in colour[:3]]

    data = {
        "runs": [{"name": run.name, "gradcam": "gradcam" in pictures[run.name]} for run in comparison.runs],
        "scores": [score_title(name) for name in SHOWN_SCORES],
        "chosen": SHOWN_SCORES.index("dice" if comparison.score == "f1" else comparison.score),
        "cases": _case_data(comparison),
        "pictures": any(pictures.values()),
        "kinds": sorted({kind for kinds in pictures.values() for kind in kinds}),
        "colours": {"tp": TRUE_POSITIVE, "fp": FALSE_POSITIVE, "fn": FALSE_NEGATIVE, "alpha": _ALPHA},
        "maps": {"probability": colour_map("viridis"), "heat": colour_map("inferno")},
    }
    loader = PackageLoader("hybrid_attention", "report")
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, keep_trailing_newline=True)
    environment.filters |= {
        "base64": _base64,
        "json": lambda text: Markup(text.replace("<", "\\u003c")),  # safe inside a script element
        "intervals_unbroken": _intervals_unbroken,
    }
    without = [name for name, kinds in pictures.items() if not kinds]
    note = f"No pictures in {', '.join(without)}." if without else ""
    if len(without) == len(pictures):
        note = "No run has pictures: the browser shows only scores."
    return environment.get_template("page.html.j2").render(
        title=title(comparison),
        warnings=warnings(comparison),
        facts=facts,
        tables=tables,
        figures=figures,
        conventions=CONVENTIONS,
        differences=differences,
        why_no_tests=why_no_tests,
        score=comparison.score.capitalize(),
        pictures_note=note,
        data=json.dumps(data, separators=(",", ":"), allow_nan=False),
        cases=cases,
        style=loader.get_source(environment, "page.css")[0],
        script=loader.get_source(environment, "page.js")[0],
        footer=footer,
    )


def title(comparison: Comparison) -> str:
    """Return the headline of the report."""
    names = [run.name for run in comparison.runs]
    return f"Evaluation of {names[0]}" if len(names) == 1 else f"Comparison of {len(names)} runs"


def warnings(comparison: Comparison) -> list[str]:
    """Return warnings if the numbers do not measure quality."""
    return [f"{text}." for text in dict.fromkeys(text for run in comparison.runs for text in warnings_of(run.record))]


def picture_kinds(run: Evaluation) -> tuple[str, ...]:
    """Return the kinds of pictures that a run has.

    Returns:
        Nothing, or "images", "truths", "masks" and optionally "probabilities" (for all cases) and "gradcam" (except for
        cases that `SaveGradCAM` left out, which older evaluations don't list).
    """
    missing = {
        kind: [case for case in run.cases["case_id"] if not picture_path(run.folder, kind, case).is_file()]
        for kind in (*_NEEDED, "probabilities", "gradcam")
    }
    if all(len(missing[kind]) == len(run.cases) for kind in _NEEDED):
        return ()
    kinds = (*_NEEDED, *(kind for kind in ("probabilities", "gradcam") if len(missing[kind]) < len(run.cases)))
    listed = run.folder / "gradcam" / LEFT_OUT
    left_out = json.loads(listed.read_text(encoding="utf-8")) if listed.is_file() else missing["gradcam"]
    missing["gradcam"] = [case for case in missing["gradcam"] if case not in left_out]
    lost = [(kind, case) for kind in kinds for case in missing[kind]]
    if lost:
        raise ValueError(
            f"{run.name}: {plural(len(lost), 'picture')} missing, the first: {picture_path(run.folder, *lost[0])}; "
            "evaluate again, or remove the folders of pictures for a report without them"
        )
    return kinds


def embedded_cases(comparison: Comparison, kinds: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Yield the pictures of each case as JSON, given the `picture_kinds` of each run; nothing if no run has pictures.

    Yields:
        `{"image", "truth", "runs": [{"mask", "probability", "gradcam"} or null]}`, each picture a data URI or "".
    """
    with_pictures = [run for run in comparison.runs if kinds[run.name]]
    if not with_pictures:
        return
    # the first of those with the largest images
    base = max(with_pictures, key=lambda run: math.prod(read_picture(run, "images", run.cases.iloc[0]).size))
    place = comparison.runs.index(base)
    for rows in zip(*(run.cases.to_dict("records") for run in comparison.runs), strict=True):
        shown = {
            "image": _webp(read_picture(base, "images", rows[place]), LONG_SIDE, "image"),
            "truth": _one_bit(read_picture(base, "truths", rows[place])),
            "runs": [
                _of_run(run, row, kinds[run.name]) if kinds[run.name] else None
                for run, row in zip(comparison.runs, rows, strict=True)
            ],
        }
        yield json.dumps(shown, separators=(",", ":"))


def _case_data(comparison: Comparison) -> list[dict[str, Any]]:
    return [
        {
            "id": rows[0]["case_id"],
            "class": rows[0]["class"],
            "lesion": has_lesion(rows[0]),
            "area": _share(rows[0], "tp", "fn"),
            "scores": [_case_scores(row) for row in rows],
            "predicted_share": [_share(row, "tp", "fp") for row in rows],
            "predicted": [row.get("predicted_class", "") for row in rows],
        }
        for rows in zip(*(run.cases.to_dict("records") for run in comparison.runs), strict=True)
    ]


def _case_scores(row: Row) -> list[float | None]:
    """Return the scores of a case; without a lesion, only specificity and accuracy are defined."""
    defined = SHOWN_SCORES if has_lesion(row) else ("specificity", "accuracy")
    return [round(row[name], 4) if name in defined and not math.isnan(row[name]) else None for name in SHOWN_SCORES]


def _share(row: Row, *counts: str) -> float:
    """Return a share of the pixels of the image."""
    return round(sum(row[count] for count in counts) / sum(row[count] for count in COUNTS), 5)


def _intervals_unbroken(text: str) -> Markup:
    """Escape a text; an interval or spread stays on one line."""
    return Markup(re.sub(r"\[.*?\]|\S+ ± \S+", r'<span class="nowrap">\g<0></span>', str(escape(text))))


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _of_run(run: Evaluation, row: Row, kinds: Sequence[str]) -> dict[str, str]:
    stored = {"mask": _one_bit(read_picture(run, "masks", row))}
    for name, kind in (("probability", "probabilities"), ("gradcam", "gradcam")):
        there = kind in kinds and picture_path(run.folder, kind, row["case_id"]).is_file()
        stored[name] = _webp(read_picture(run, kind, row), LONG_SIDE // 2, "map") if there else ""
    return stored


def read_picture(run: Evaluation, kind: str, row: Row) -> Image.Image:
    """Read a picture of a case, given by its row of `per_case.csv`, in grey; see `picture_path`."""
    path = picture_path(run.folder, kind, row["case_id"])
    try:
        with Image.open(path) as file:
            picture = file.convert("L")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"the picture {path} can't be read: {error}") from None
    if kind in ("truths", "masks") and picture.width * picture.height == sum(row[count] for count in COUNTS):
        drawn = sum(picture.histogram()[128:])
        expected = row["tp"] + row["fn" if kind == "truths" else "fp"]
        if drawn != expected:
            raise ValueError(
                f"{path} has {drawn} lesion pixels, per_case.csv says {expected}: the pictures are of another "
                "evaluation"
            )
    return picture


def _fitted(picture: Image.Image, long_side: int, method: Image.Resampling) -> Image.Image:
    fitted = picture.copy()
    fitted.thumbnail((long_side, long_side), method, reducing_gap=None)
    return fitted


def _webp(picture: Image.Image, long_side: int, use: str) -> str:
    data = io.BytesIO()
    _fitted(picture, long_side, Image.Resampling.BOX).save(data, "WEBP", quality=_QUALITY[use], method=2)
    return "data:image/webp;base64," + _base64(data.getvalue())


def _one_bit(picture: Image.Image) -> str:
    data = io.BytesIO()
    small = _fitted(picture, LONG_SIDE, Image.Resampling.NEAREST)
    small.point(lambda level: 255 if level > 127 else 0).convert("1", dither=Image.Dither.NONE).save(data, "PNG")
    return "data:image/png;base64," + _base64(data.getvalue())
