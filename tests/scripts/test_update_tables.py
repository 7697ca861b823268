import re

import pytest

from tests.scripts.load import load_script

QUICK = (
    "attention averages benchmark by_class calibrate conventions cross_validation data_sets inference inference_times "
    "leaks network_costs normal_images normal_thresholds predict recipes released run speed stress throughput"
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
