import json
import re
import shutil

import pytest

from tests.scripts.load import RESULTS, load_script

FOLD = RESULTS / "improved_fold0_128" / "calibrate"
QUICK = (
    "attention averages benchmark by_class cross_validation data_sets inference inference_times leaks network_costs "
    "normal_images normal_thresholds predict recipes released run speed stress throughput"
).split()


@pytest.fixture(scope="module")
def script():
    return load_script("update_tables")


@pytest.mark.parametrize("kind", QUICK)
def test_quick_tables_are_true(script, kind):
    """Those that are computed quickly; all of them: `scripts/update_tables.py --check`."""
    block = re.compile(rf"(<!-- {kind}(?: [\w/]+)? -->)(.*?)(<!-- end of {kind} -->)", re.S)
    tables = [found for page in script.PAGES for found in block.finditer(page.read_text())]
    assert tables
    for table in tables:
        assert script.filled(f"{table[1]}somebody's own numbers{table[3]} rest") == f"{table[0]} rest"


def test_a_variant_that_is_not_the_mean_of_its_cases_is_noticed(script, tmp_path):
    folder = shutil.copytree(FOLD, tmp_path / "calibrate")
    script.calibrate_table(folder)
    summary = json.loads((folder / "summary.json").read_text())
    summary["variants"][0]["test_dice_at_threshold"] += 0.001
    (folder / "summary.json").write_text(json.dumps(summary))
    with pytest.raises(ValueError, match=r"is not the mean of its rows in cases\.csv"):
        script.calibrate_table(folder)
