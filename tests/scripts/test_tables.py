import json
import re
import shutil

import pandas as pd
import pytest
import yaml
from hybrid_attention.data.images import read_image
from hybrid_attention.data.masks import read_mask
from hybrid_attention.prediction.measurements import measure_lesion

from tests.scripts.load import RESULTS, ROOT, load_script

networks, studies, tables = (load_script(name) for name in ("tables_of_networks", "tables_of_studies", "update_tables"))
QUICK = (
    "attention averages benchmark by_class calibrate conventions cross_validation data_sets inference inference_times "
    "leaks network_costs normal_images normal_thresholds predict recipes released run speed stress throughput"
).split()


def test_runs_that_cannot_be_compared(tmp_path):
    experiment = shutil.copytree(RESULTS / "busi_fold0_128", tmp_path / "busi_fold0_128")
    summary = experiment / "unet" / "summary.json"
    summary.write_text(summary.read_text().replace('"image_size": 128', '"image_size": 256', 1))
    with pytest.raises(ValueError, match="can't be compared with the other runs"):
        networks.results_table(experiment)
    shutil.rmtree(experiment)
    with pytest.raises(ValueError, match=r"no run with a per_case\.csv"):
        networks.results_table(experiment)


def test_every_network_of_the_lists_has_a_row_and_costs():
    listed = yaml.safe_load((ROOT / "scripts" / "experiments" / "networks" / "all.yaml").read_text())["runs"]
    rows = networks.ROWS["runs"]["peers_fold0_128"]
    assert set(rows) == {run["name"] for run in listed}
    assert set(rows.values()) <= set(load_script("benchmarks/training").NETWORKS)


def test_table_never_rounds_up_to_all_pixels():
    timed = {"milliseconds": 10.0, "lower_quartile": 9.0, "upper_quartile": 11.0, "ratio": 4.126}
    scores = {"largest_difference": 0.25, "equal_pixels": 0.9999999, "dice": 0.75, "dice_change": -0.0004}
    first = networks._inference_row({"network": "HAN", "variant": "int8", **timed, **scores})
    assert list(first.values()) == ["HAN", "int8", "10.0 (9.0-11.0)", "4.13", "0.2", "99.9999", "75.00 (-0.04)"]
    second = networks._inference_row({"network": "HAN", "variant": "torch.compile", "failure": "no compiler"})
    assert list(second.values()) == ["HAN", "torch.compile", "no compiler", "", "", "", ""]


def test_noise_is_what_chance_does_to_a_difference_to_the_mean():
    # deviation 0.02; one more run varies as much as one of them, their mean by a third of its square; t of 2 degrees
    assert studies.noise([0.6, 0.62, 0.64]) == pytest.approx(4.302653 * 0.02 * (4 / 3) ** 0.5)
    assert studies.noise([0.6, 0.62, 0.64], 3) == pytest.approx(4.302653 * 0.02 * (2 / 3) ** 0.5)
    assert studies.noise([0.6]) is None
    for difference, verdict in ((0.03, "better"), (-0.03, "worse"), (0.01, "no"), (-0.02, "no")):
        assert studies.verdict(difference, 0.02) == verdict
    assert studies.verdict(0.5, None) == "unknown"


def test_studies_use_the_validation_fold(tmp_path):
    folder = tmp_path / "recipe_study_128" / "base"
    with pytest.raises(ValueError, match="has no run 'base'"):
        studies.study_table(folder.parent)
    shutil.copytree(RESULTS / "busi_fold0_128" / "han", folder)
    summary = json.loads((folder / "summary.json").read_text())
    (folder / "summary.json").write_text(json.dumps({**summary, "part": "test"}))
    with pytest.raises(ValueError, match="is of the test part"):
        studies.study_table(folder.parent)
    (folder / "summary.json").write_text(json.dumps({**summary, "part": "validation"}))
    text = studies.study_table(folder.parent)
    assert "Dice of 125 lesion images" in text and "One seed per run" in text
    assert "| FlexibleUNet-B0, `from_scratch.yaml` |" in text
    (folder / "seed_0").mkdir()  # beside the files of the run
    with pytest.raises(ValueError, match="next to its seed folders"):
        studies.study_table(folder.parent)


def test_which_test_images_have_a_near_duplicate_in_training():
    """Group a lies in folds 0 and 2, b in 0 and 1 (for fold 0 the validation fold), c in one fold."""
    cases = pd.DataFrame({"group": list("aabbccd"), "fold": [0, 2, 0, 1, 3, 3, 4]})
    assert studies.has_training_duplicate(cases).tolist() == [True, True, False, True, False, False, False]


def test_images_that_look_normal_get_an_empty_mask():
    cases = pd.DataFrame(
        {"group": "a", "probability_normal": [0.49, 0.5, 0.9], "tp": [5, 5, 0], "fp": [1, 1, 4], "fn": [2, 2, 0]}
    ).assign(tn=[8, 8, 12])
    emptied = studies.emptied(cases, 0.5)
    assert emptied[["tp", "fp", "fn", "tn"]].to_numpy().tolist() == [[5, 1, 2, 8], [0, 0, 7, 9], [0, 0, 0, 16]]


@pytest.mark.parametrize("kind", QUICK)
def test_quick_tables_are_true(kind):
    """Those that are computed quickly; all of them: `scripts/update_tables.py --check`."""
    block = re.compile(rf"(<!-- {kind}(?: [\w/]+)? -->)(.*?)(<!-- end of {kind} -->)", re.S)
    blocks = [found for page in tables.PAGES for found in block.finditer(page.read_text())]
    assert blocks
    for table in blocks:
        assert tables.filled(f"{table[1]}somebody's own numbers{table[3]} rest") == f"{table[0]} rest"


@pytest.mark.bus_bra
def test_the_published_measures_are_those_of_this_code(bus_bra):
    table = pd.read_csv(RESULTS / "measurements_bus_bra.csv")
    rows = [row for row in table[table["masks"] == "true"].to_dict("records") if (bus_bra / row["case_id"]).is_file()]
    assert rows
    for row in rows[::50]:
        image = bus_bra / row["case_id"]
        mask = read_mask(bus_bra / "Masks" / image.name.replace("bus_", "mask_", 1))
        measures = measure_lesion(mask, image=read_image(image).pixels)
        found = {name: float("nan") if measures[name] is None else measures[name] for name in table.columns[4:]}
        assert found == pytest.approx({name: row[name] for name in found}, abs=1e-4, nan_ok=True)
