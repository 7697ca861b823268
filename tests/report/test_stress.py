import math

import numpy as np
import pytest
from hybrid_attention.report.stress import draw_examples, draw_stress
from hybrid_attention.transforms.corruptions import CORRUPTIONS, Corrupt
from PIL import Image

from tests.evaluation.predicted import DarkIsLesion, write_case


def summary(clean, losses, synthetic=False):
    """A run that loses so much Dice at each strength, by kind."""

    def score(mean):
        return {"mean": mean, "low": mean - 0.1, "high": mean + 0.1}

    kinds = {
        kind: {"strengths": [{"strength": n, "dice": score(clean - n * loss)} for n in range(1, 6)]}
        for kind, loss in losses.items()
    }
    return {"clean": {"dice": score(clean)}, "kinds": kinds, "synthetic_data": synthetic}


def panels(figure):
    return {axes.get_title(): axes for axes in figure.axes if axes.axison}


def test_one_panel_per_kind_and_one_line_per_run():
    one = summary(0.8, dict.fromkeys(CORRUPTIONS, 0.1))
    other = summary(0.6, {kind: 0.01 * place for place, kind in enumerate(CORRUPTIONS)})
    figure = draw_stress({"net_$1$": one, "other": other})
    drawn = panels(figure)
    assert list(drawn) == list(CORRUPTIONS)
    for place, axes in enumerate(drawn.values()):
        first, second = axes.get_lines()
        np.testing.assert_array_equal(first.get_xdata(), range(6))
        np.testing.assert_allclose(first.get_ydata(), [80, 70, 60, 50, 40, 30])
        np.testing.assert_allclose(second.get_ydata(), [60 - n * place for n in range(6)])
        assert first.get_color() != second.get_color()
        shade = axes.collections[0].get_datalim(axes.transData)
        assert (shade.ymin, shade.ymax) == pytest.approx((20, 90))  # 30 less 10 to 80 plus 10
    (legend,) = figure.legends
    names = legend.get_texts()
    assert [text.get_text() for text in names] == ["net_$1$", "other"] and not names[0].get_parse_math()
    assert figure.get_suptitle() == ""

    empty = summary(0.8, {"gain": 0.1}, synthetic=True)
    for entry in (empty["clean"], *empty["kinds"]["gain"]["strengths"]):
        entry["dice"] = None  # no image has a lesion
    figure = draw_stress({"net": empty})
    assert figure.get_suptitle() == "SYNTHETIC DATA"
    (line,) = panels(figure)["gain"].get_lines()
    assert all(math.isnan(value) for value in line.get_ydata())


def outlines(axes):
    """The boxes that the outlines of an example fill, in pixels of the image: left, right, top, bottom."""
    boxes = []
    for lines in axes.collections:
        corners = np.concatenate([path.vertices for path in lines.get_paths()])
        boxes.append([*np.sort([corners[:, 0].min(), corners[:, 0].max()]), corners[:, 1].min(), corners[:, 1].max()])
    return boxes


def test_examples(tmp_path):
    case, network = write_case(tmp_path, "0", 30, True), DarkIsLesion(tmp_path, step=2, chance=1.0)
    figure = draw_examples({"net": network}, case, ["gain", "text"], seed=2)
    shown = [axes for axes in figure.axes if axes.get_images()]
    titles = [axes.get_title() for axes in shown]
    assert titles == ["benign/0.png", *2 * ["strength 1", "strength 3", "strength 5"]]
    assert [block.get_suptitle() for block in figure.subfigs] == ["undegraded", "gain", "text", ""]

    image = np.array(Image.open(case["image"]), np.float32)[None]
    for axes, (kind, strength) in zip(shown[1:], [(k, s) for k in ("gain", "text") for s in (1, 3, 5)], strict=True):
        (drawn,) = axes.get_images()
        np.testing.assert_allclose(drawn.get_array(), Corrupt(kind, strength, 2)(image, case["case_id"])[0], atol=1e-3)
        assert drawn.get_clim() == (0, 255)  # brightness is not scaled away
    truth, predicted = outlines(shown[0])
    assert truth == pytest.approx([8, 16, 8, 16], abs=0.5)
    assert predicted == pytest.approx([8, 16, 8, 16], abs=1)  # of half the size, stretched to the image
    assert outlines(shown[2])[1] == pytest.approx([8, 16, 8, 16], abs=1)  # gain 1.6: 48, still dark
    assert len(outlines(shown[3])) == 1  # gain 2.5: 75, nothing is predicted
