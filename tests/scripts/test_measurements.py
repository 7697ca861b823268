import numpy as np
import pandas as pd
import pytest
from hybrid_attention.data.images import read_image
from hybrid_attention.data.masks import read_mask
from hybrid_attention.prediction.measurements import measure_lesion

from tests.scripts.load import ROOT

PUBLISHED = ROOT / "docs" / "results" / "measurements_bus_bra.csv"


@pytest.mark.bus_bra
def test_the_published_measures_are_those_of_this_code(bus_bra):
    table = pd.read_csv(PUBLISHED)
    rows = [row for _, row in table[table["masks"] == "true"].iterrows() if (bus_bra / row["case_id"]).is_file()][::50]
    assert rows
    for row in rows:
        image = bus_bra / row["case_id"]
        mask = read_mask(bus_bra / "Masks" / image.name.replace("bus_", "mask_", 1))
        found = measure_lesion(mask, image=read_image(image).pixels)
        for name in table.columns[4:]:
            expected = row[name]
            if isinstance(expected, str):
                assert found[name] == expected, (image, name)
            else:
                value = np.nan if found[name] is None else found[name]
                assert value == pytest.approx(expected, abs=1e-4, nan_ok=True), (image, name)
