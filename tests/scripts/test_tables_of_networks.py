import shutil

import pandas as pd
import pytest
import yaml

from tests.scripts.load import RESULTS, ROOT, load_script


@pytest.fixture(scope="module")
def script():
    return load_script("tables_of_networks")


@pytest.fixture
def copied(tmp_path):
    """A function that copies an experiment."""
    return lambda name: shutil.copytree(RESULTS / name, tmp_path / name)


def test_runs_that_were_changed_or_differ(script, copied):
    experiment = copied("busi_fold0_128")
    table = experiment / "han" / "per_case.csv"
    cases = pd.read_csv(table, dtype=str, keep_default_na=False)
    changed = cases.copy()
    changed.loc[0, "tp"] = str(int(cases.loc[0, "tp"]) + 1)
    for edited in (changed, cases[:-1]):
        edited.to_csv(table, index=False)
        with pytest.raises(ValueError, match=r"summary\.json does not match per_case\.csv"):
            script.results_table(experiment)
    cases.to_csv(table, index=False)
    summary = experiment / "unet" / "summary.json"
    summary.write_text(summary.read_text().replace('"image_size": 128', '"image_size": 256', 1))
    with pytest.raises(ValueError, match="can't be compared with the other runs"):
        script.results_table(experiment)
    shutil.rmtree(experiment)
    with pytest.raises(ValueError, match=r"no run with a per_case\.csv"):
        script.results_table(experiment)


def test_every_network_of_the_lists_has_a_row_and_costs(script):
    listed = yaml.safe_load((ROOT / "scripts" / "experiments" / "networks" / "all.yaml").read_text())["runs"]
    rows = script.ROWS["runs"]["peers_fold0_128"]
    assert set(rows) == {run["name"] for run in listed}
    assert set(rows.values()) <= set(load_script("benchmarks/training").NETWORKS)


def test_table_never_rounds_up_to_all_pixels(script):
    timed = {"milliseconds": 10.0, "lower_quartile": 9.0, "upper_quartile": 11.0, "ratio": 4.126}
    scores = {"largest_difference": 0.25, "equal_pixels": 0.9999999, "dice": 0.75, "dice_change": -0.0004}
    first = script._inference_row({"network": "HAN", "variant": "int8", **timed, **scores})
    assert list(first.values()) == ["HAN", "int8", "10.0 (9.0-11.0)", "4.13", "0.2", "99.9999", "75.00 (-0.04)"]
    second = script._inference_row({"network": "HAN", "variant": "torch.compile", "failure": "no compiler"})
    assert list(second.values()) == ["HAN", "torch.compile", "no compiler", "", "", "", ""]
