import dataclasses

import numpy as np
import pytest
from hybrid_attention.evaluation import read_evaluation
from hybrid_attention.evaluation.results import picture_path
from hybrid_attention.prediction.overlay import draw_overlay
from hybrid_attention.report.case_figures import draw_cases, typical_cases
from hybrid_attention.report.matched_runs import match_runs
from hybrid_attention.report.page import picture_kinds
from hybrid_attention.transforms import GaussianDerivativeMagnitude
from PIL import Image

FIRST, NORMAL = "benign/benign (0).png", "normal/normal (3).png"


def drawn(runs, *wanted):
    comparison = match_runs(runs)
    return draw_cases(comparison, {run.name: picture_kinds(run) for run in comparison.runs}, wanted)


def plane(run, kind, case):
    return np.asarray(Image.open(picture_path(run.folder, kind, case)), dtype=np.float32)


@pytest.fixture
def runs(make_run):
    return [read_evaluation(make_run(name, error=error)) for name, error in (("good", 1), ("bad", 3))]


def test_grid_and_samples_of_two_runs(runs, make_run):
    drawing = drawn(runs, NORMAL, FIRST)["cases"]
    axes = drawing.figure.axes
    assert [one.get_title() for one in axes[:4]] == ["image", "truth", "good", "bad"]
    assert [one.get_ylabel() for one in axes[::4]] == [NORMAL, FIRST]
    assert [one.get_xlabel() for one in axes[2:4]] == ["no lesion"] * 2
    for place, run in ((6, runs[0]), (7, runs[1])):
        image, mask, truth = (plane(run, kind, FIRST) for kind in ("images", "masks", "truths"))
        np.testing.assert_array_equal(axes[place].images[0].get_array(), draw_overlay(image, mask > 0, truth > 0))
        assert axes[place].get_xlabel() == f"{100 * run.cases['dice'][0]:.1f}"
    np.testing.assert_array_equal(axes[5].images[0].get_array(), plane(runs[0], "truths", FIRST))

    # without a wish, the best, median and worst case by the mean of the runs, and samples of each class
    table = runs[0].cases.assign(mean=(runs[0].cases["dice"] + runs[1].cases["dice"]) / 2)
    order = table[table["class"] != "normal"].sort_values("mean", ascending=False, kind="stable")["case_id"].tolist()
    assert typical_cases(match_runs(runs)) == {"best": order[0], "median": order[3], "worst": order[5]}
    shown = [axes for axes in drawn(runs)["samples"].figure.axes if axes.get_visible()]
    names = {"benign": (0, 2, 4, 6), "malignant": (1, 5), "normal": (3, 7)}
    expected = [f"{name}/{name} ({index}).png" for name, indices in names.items() for index in indices]
    assert [axes.get_xlabel() for axes in shown] == expected
    assert [bool(axes.collections) for axes in shown] == [True] * 6 + [False] * 2  # outlines

    bare = read_evaluation(make_run("bare", pictures=False))
    assert drawn([bare]) == {}
    assert [axes.get_title() for axes in drawn([bare, *runs])["cases"].figure.axes[2:4]] == ["good", "bad"]
    with pytest.raises(ValueError, match="no run has pictures"):
        drawn([bare], FIRST)
    with pytest.raises(ValueError, match=r"no case 'benign/benign \(9\)'.*similar ones: benign/benign \(\d\)\.png"):
        drawn(runs, "benign/benign (9)")
    many = [dataclasses.replace(runs[0], name=str(index)) for index in range(11)]
    assert list(drawn(many)) == ["samples"] and "cases" in drawn(many[:10])
    with pytest.raises(ValueError, match="at most 10 models, got 11"):
        drawn(many, FIRST)


def test_heat_and_edges(make_run, runs):
    heated = read_evaluation(make_run("heated", gradcam=True))
    assert not {"gradcam", "edges"} & set(drawn(runs))
    axes = drawn([*runs, heated], FIRST, NORMAL)["gradcam"].figure.axes
    assert [one.get_title() for one in axes[:4]] == ["image", "truth", "heated", "Grad-CAM"]
    np.testing.assert_allclose(axes[3].images[1].get_array(), plane(heated, "gradcam", FIRST) / 255)
    assert len(axes[7].images) == 1 and axes[7].get_xlabel() == "empty mask"
    assert axes[8].get_ylabel() == "Grad-CAM"  # the bar
    settings = {"image_size": 32, "edge_channel": True, "edge_sigma": 2.0}
    run = dataclasses.replace(runs[0], record={**runs[0].record, "settings": settings})
    drawing = drawn([run], FIRST)["edges"]
    image, magnitude = (axes.images[0].get_array() for axes in drawing.figure.axes[:2])
    assert image.shape == (32, 32) and "sigma 2 pixels" in drawing.caption  # as the network sees it
    np.testing.assert_allclose(magnitude, GaussianDerivativeMagnitude(2.0)(np.asarray(image)[None])[0], atol=1e-6)
