import dataclasses

import numpy as np
import pytest
from hybrid_attention.cli import main
from hybrid_attention.evaluation import read_evaluation
from hybrid_attention.evaluation.results import picture_path
from hybrid_attention.prediction.overlay import draw_overlay
from hybrid_attention.report.case_figures import draw_cases, typical_cases
from hybrid_attention.report.matched_runs import match_runs
from hybrid_attention.report.page import picture_kinds
from hybrid_attention.transforms import GaussianDerivativeMagnitude
from PIL import Image


def drawn(runs, wanted=()):
    comparison = match_runs(runs)
    return draw_cases(comparison, {run.name: picture_kinds(run) for run in comparison.runs}, wanted)


def pictures(drawing):
    """What each pair of axes shows, the last picture on top."""
    return [[image.get_array() for image in axes.images] for axes in drawing.figure.axes]


def plane(run, kind, case):
    return np.asarray(Image.open(picture_path(run.folder, kind, case)), dtype=np.float32)


@pytest.fixture
def runs(make_run):
    return [read_evaluation(make_run(name, error=error)) for name, error in (("good", 1), ("bad", 3))]


def test_best_median_and_worst_by_the_mean_of_the_runs(runs):
    comparison = match_runs(runs)
    table = comparison.runs[0].cases.assign(
        mean=(comparison.runs[0].cases["dice"] + comparison.runs[1].cases["dice"]) / 2
    )
    order = table[table["class"] != "normal"].sort_values("mean", ascending=False, kind="stable")["case_id"].tolist()
    assert typical_cases(comparison) == {"best": order[0], "median": order[3], "worst": order[5]}


def test_grid_of_two_runs(runs):
    wanted = ["normal/normal (3).png", "benign/benign (0).png"]
    drawing = drawn(runs, wanted)["cases"]
    axes = drawing.figure.axes
    assert [one.get_title() for one in axes[:4]] == ["image", "truth", "good", "bad"]
    assert [one.get_ylabel() for one in axes[::4]] == wanted
    assert [one.get_xlabel() for one in axes[2:4]] == ["no lesion"] * 2
    shown = pictures(drawing)
    for place, run in ((6, runs[0]), (7, runs[1])):
        image, mask, truth = (plane(run, kind, wanted[1]) for kind in ("images", "masks", "truths"))
        np.testing.assert_array_equal(shown[place][0], draw_overlay(image, mask > 0, truth > 0))
        assert axes[place].get_xlabel() == f"{100 * run.cases['dice'][0]:.1f}"
    np.testing.assert_array_equal(shown[5][0], plane(runs[0], "truths", wanted[1]))


def test_heat_has_a_bar_and_an_empty_mask_has_none(make_run, runs):
    heated = read_evaluation(make_run("heated", gradcam=True))
    assert "gradcam" not in drawn(runs)
    drawing = drawn([*runs, heated], ["benign/benign (0).png", "normal/normal (3).png"])["gradcam"]
    axes = drawing.figure.axes
    assert [one.get_title() for one in axes[:4]] == ["image", "truth", "heated", "Grad-CAM"]
    _, heat = pictures(drawing)[3]
    np.testing.assert_allclose(heat, plane(heated, "gradcam", "benign/benign (0).png") / 255)
    assert len(pictures(drawing)[7]) == 1 and axes[7].get_xlabel() == "empty mask"
    assert axes[8].get_ylabel() == "Grad-CAM"  # the bar


def test_edges_at_the_size_of_the_network(runs):
    assert "edges" not in drawn(runs)
    settings = {"image_size": 32, "edge_channel": True, "edge_sigma": 2.0}
    run = dataclasses.replace(runs[0], record={**runs[0].record, "settings": settings})
    drawing = drawn([run], ["benign/benign (0).png"])["edges"]
    image, magnitude = (one[0] for one in pictures(drawing)[:2])
    assert image.shape == (32, 32) and "sigma 2 pixels" in drawing.caption
    np.testing.assert_allclose(magnitude, GaussianDerivativeMagnitude(2.0)(np.asarray(image)[None])[0], atol=1e-6)


def test_samples_of_each_class(runs):
    figure = drawn(runs)["samples"].figure
    shown = [axes for axes in figure.axes if axes.get_visible()]
    names = [axes.get_xlabel() for axes in shown]
    assert names == [
        f"{name}/{name} ({index}).png"
        for name, index in zip(
            ["benign"] * 4 + ["malignant"] * 2 + ["normal"] * 2, [0, 2, 4, 6, 1, 5, 3, 7], strict=True
        )
    ]
    assert [bool(axes.collections) for axes in shown] == [True] * 6 + [False] * 2  # outlines


def test_runs_without_pictures(make_run, runs):
    bare = read_evaluation(make_run("bare", pictures=False))
    assert drawn([bare]) == {}
    assert [axes.get_title() for axes in drawn([bare, *runs])["cases"].figure.axes[2:4]] == ["good", "bad"]
    with pytest.raises(ValueError, match="no run has pictures"):
        drawn([bare], ["benign/benign (0).png"])


def test_at_most_ten_models(runs, make_run, tmp_path, capsys):
    many = [dataclasses.replace(runs[0], name=str(index)) for index in range(11)]
    assert list(drawn(many)) == ["samples"] and "cases" in drawn(many[:10])
    folders = [f"{index}={runs[0].folder}" for index in range(11)]
    arguments = ["compare", *folders, "--out", str(tmp_path / "report")]
    assert main([*arguments, "--cases", "benign/benign (0).png"]) != 0
    assert "at most 10 models, got 11" in capsys.readouterr().err
    assert not (tmp_path / "report").exists()


def test_unknown_case(runs):
    with pytest.raises(ValueError, match=r"no case 'benign/benign \(9\)'.*similar ones: benign/benign \(\d\)\.png"):
        drawn(runs, ["benign/benign (9)"])
