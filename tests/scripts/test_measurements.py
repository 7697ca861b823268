import pandas as pd
import pytest
from hybrid_attention.data.images import read_image
from hybrid_attention.data.masks import read_mask
from hybrid_attention.prediction.measurements import measure_lesion

from tests.scripts.load import RESULTS


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
