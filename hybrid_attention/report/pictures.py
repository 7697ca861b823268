"""The pictures of the case browser, small enough that thousands fit into one page.

Image and truth are stored once a case, a run adds its mask, and half as large, its probability map and Grad-CAM. The
browser composes the overlays, and stretches the maps to the image: Grad-CAM is at the size that the network saw.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator, Mapping, Sequence

from hybrid_attention.evaluation.metrics import COUNTS
from hybrid_attention.evaluation.pictures import LEFT_OUT, picture_path
from hybrid_attention.evaluation.text import plural
from hybrid_attention.report.matching import Comparison
from hybrid_attention.report.runs import Row, Run
from PIL import Image

LONG_SIDE = 256
_NEEDED = ("images", "truths", "masks")
_QUALITY = {"image": 80, "map": 60}


def picture_kinds(run: Run) -> tuple[str, ...]:
    """Tell which kinds of pictures a run has for its cases.

    Args:
        run: with the cases that are compared.

    Returns:
        Nothing, or "images", "truths", "masks" and perhaps "probabilities" (all of these for each case) and "gradcam"
        (not for cases that `SaveGradCAM` left out; an older evaluation doesn't say which these are).

    Raises:
        ValueError: pictures of some cases are there and of others not, or `left_out.json` is damaged.
    """
    missing = {
        kind: [row["case_id"] for row in run.rows if not picture_path(run.folder, kind, row["case_id"]).is_file()]
        for kind in (*_NEEDED, "probabilities", "gradcam")
    }
    if all(len(missing[kind]) == len(run.rows) for kind in _NEEDED):
        return ()
    kinds = (*_NEEDED, *(kind for kind in ("probabilities", "gradcam") if len(missing[kind]) < len(run.rows)))
    if "gradcam" in kinds:
        missing["gradcam"] = _lost_heat(run, missing["gradcam"])
    gone = [(kind, case) for kind in kinds for case in missing[kind]]
    if gone:
        raise ValueError(
            f"{run.name}: {plural(len(gone), 'picture')} gone, the first: {picture_path(run.folder, *gone[0])}; "
            "evaluate again, or remove the folders of pictures for a report without them"
        )
    return kinds


def embedded_cases(comparison: Comparison, kinds: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Read the pictures of each case and return them as the text of a JSON object.

    Args:
        comparison: the runs.
        kinds: by run, its `picture_kinds`.

    Yields:
        A text a case, nothing where no run has pictures: `{"image", "truth", "runs": [{"mask", "probability",
        "gradcam"} or null]}`, each picture a data URI or "" where there is none.

    Raises:
        ValueError: a picture is missing, damaged, of another size than its image (which Grad-CAM may be), or of another
            evaluation.
    """
    with_pictures = [run for run in comparison.runs if kinds[run.name]]
    if not with_pictures:
        return
    base = max(with_pictures, key=_pixels)  # the first of those with the largest images
    for index in range(len(base.rows)):
        image = _read(base, "images", base.rows[index])
        truth = _read(base, "truths", base.rows[index], image.size)
        stored: list[dict[str, str] | None] = [
            _of_run(run, run.rows[index], kinds[run.name]) if kinds[run.name] else None for run in comparison.runs
        ]
        yield json.dumps(
            {"image": _webp(image, LONG_SIDE, "image"), "truth": _one_bit(truth), "runs": stored}, separators=(",", ":")
        )


def _lost_heat(run: Run, missing: Sequence[str]) -> list[str]:
    path = run.folder / "gradcam" / LEFT_OUT
    if not path.is_file():
        return []
    try:
        left_out = set(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, TypeError, ValueError) as error:
        raise ValueError(f"{path} can't be read: {error}; evaluate again") from None
    return [case for case in missing if case not in left_out]


def _pixels(run: Run) -> int:
    width, height = _read(run, "images", run.rows[0]).size
    return width * height


def _of_run(run: Run, row: Row, kinds: Sequence[str]) -> dict[str, str]:
    mask = _read(run, "masks", row)
    stored = {"mask": _one_bit(mask)}
    for name, kind, size in (("probability", "probabilities", mask.size), ("gradcam", "gradcam", None)):
        there = kind in kinds and picture_path(run.folder, kind, row["case_id"]).is_file()
        stored[name] = _webp(_read(run, kind, row, size), LONG_SIDE // 2, "map") if there else ""
    return stored


def _read(run: Run, kind: str, row: Row, size: tuple[int, int] | None = None) -> Image.Image:
    path = picture_path(run.folder, kind, row["case_id"])
    try:
        with Image.open(path) as file:
            picture = file.convert("L")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"the picture {path} can't be read: {error}") from None
    if size is not None and picture.size != size:
        raise ValueError(f"{path} is of {picture.size} pixels, other pictures of its case of {size}")
    if kind in ("truths", "masks") and picture.width * picture.height == sum(row[count] for count in COUNTS):
        marked = sum(picture.histogram()[128:])
        expected = row["tp"] + row["fn" if kind == "truths" else "fp"]
        if marked != expected:
            raise ValueError(
                f"{path} marks {marked} pixels, per_case.csv says {expected}: the pictures are of another evaluation"
            )
    return picture


def _fitted(picture: Image.Image, long_side: int, method: Image.Resampling) -> Image.Image:
    shrink = min(1.0, long_side / max(picture.size))
    if shrink == 1:
        return picture
    return picture.resize((max(1, round(picture.width * shrink)), max(1, round(picture.height * shrink))), method)


def _webp(picture: Image.Image, long_side: int, use: str) -> str:
    data = io.BytesIO()
    _fitted(picture, long_side, Image.Resampling.BOX).save(data, "WEBP", quality=_QUALITY[use], method=2)
    return "data:image/webp;base64," + base64.b64encode(data.getvalue()).decode("ascii")


def _one_bit(picture: Image.Image) -> str:
    data = io.BytesIO()
    small = _fitted(picture, LONG_SIDE, Image.Resampling.NEAREST)
    small.point(lambda level: 255 if level > 127 else 0).convert("1", dither=Image.Dither.NONE).save(data, "PNG")
    return "data:image/png;base64," + base64.b64encode(data.getvalue()).decode("ascii")
