import json
import shutil

import pandas as pd
import pytest
import yaml

from tests.scripts.load import RESULTS, ROOT, cells_of, load_script, rows_of


@pytest.fixture(scope="module")
def script():
    return load_script("tables_of_networks")


@pytest.fixture
def copied(tmp_path):
    """A function that copies an experiment."""
    return lambda name: shutil.copytree(RESULTS / name, tmp_path / name)


def cases_of(folder):
    return pd.read_csv(folder / "per_case.csv")


def dice_of(cases):
    return 100 * cases["dice"][cases["tp"] + cases["fn"] > 0].mean()


def first_number(cell):
    return float(cell.split(" ")[0])


def test_a_changed_or_dropped_case_is_noticed(script, copied):
    run = copied("busi_fold0_128") / "han"
    cases = pd.read_csv(run / "per_case.csv", dtype=str, keep_default_na=False)
    changed = cases.copy()
    changed.loc[0, "tp"] = str(int(cases.loc[0, "tp"]) + 1)
    for edited in (changed, cases[:-1]):
        edited.to_csv(run / "per_case.csv", index=False)
        with pytest.raises(ValueError, match=r"summary\.json does not match per_case\.csv"):
            script.results_table(run.parent)


def test_rows_must_be_comparable(script, copied):
    experiment = copied("busi_fold0_128")
    summary = experiment / "unet" / "summary.json"
    summary.write_text(summary.read_text().replace('"image_size": 128', '"image_size": 256', 1))
    with pytest.raises(ValueError, match="can't be compared with the other runs"):
        script.results_table(experiment)
    shutil.rmtree(experiment)
    with pytest.raises(ValueError, match=r"no run with a per_case\.csv"):
        script.results_table(experiment)


def test_conventions_of_one_run_and_of_many(script):
    many = rows_of(script.conventions_table(RESULTS / "explainable_fold0_128"))["7: no attention"]
    for convention, row in rows_of(script.one_run_table(RESULTS / "explainable_fold0_128" / "model_7")).items():
        assert many[convention.strip("`")] == row["Dice"]
    assert len(many["pixel AUC: training / validation / test"].split(" / ")) == 3


def test_network_costs(script, tmp_path):
    here = {"provenance": {"processor": "Some CPU, 2 threads"}}
    rows = {
        "HAN": {
            "size": {"parameters": 15427713, "flops": 41049956352, **here},
            "memory": {"training_memory_gib": 2.31, **here},
            "speed": {"images_per_second": 4.386, "steps": 5, **here},
        },
        "U-Net": {"size": {"parameters": 34513345, "flops": 130694512640, **here}},
    }
    settings = {"image_size": 256, "batch_size": 10, "precision": "bf16", "channels_last": True}
    (tmp_path / "costs.json").write_text(json.dumps({"settings": settings, "rows": rows}))
    text = script.network_costs_table(tmp_path / "costs.json")
    assert text.startswith("256 x 256 pixels, bf16, channels_last, batches of 10, Some CPU,")
    expected = [["HAN", "15,427,713", "41.0", "2.3", "4.39"], ["U-Net", "34,513,345", "130.7", "", ""]]
    assert cells_of(text)[1:] == expected


def test_classes_beside_masks(script):
    experiment = RESULTS / "mtl_oca_folds_128"
    header, *rows = cells_of(script.classes_table(experiment))
    cases = cases_of(experiment / "mtl_oca")
    scores, *confusion = (row for row in rows if row[0] == "MTL-OCA")
    accuracy = 100 * (cases["predicted_class"] == cases["class"]).mean()
    assert dict(zip(header, scores, strict=True))["class accuracy"].startswith(f"{accuracy:.1f} [")
    names = ["benign", "malignant", "normal"]
    counts = pd.crosstab(cases["class"], cases["predicted_class"]).reindex(columns=names, fill_value=0)
    assert {name: list(map(int, taken)) for _, name, *taken in confusion} == counts.T.to_dict("list")
    (alone,) = (row for row in rows if row[0] == "U-Net, segmentation only")
    assert alone[-3:] == ["", "", ""] and alone[1]


def test_peers_beside_their_costs(script):
    costs = json.loads((RESULTS / "network_costs.json").read_text())["rows"]
    rows = rows_of(script.peers_table(RESULTS / "peers_fold0_128"))
    assert len(rows) == len(list((RESULTS / "peers_fold0_128").iterdir()))
    assert all(row["parameters"] == f"{costs[name]['size']['parameters']:,}" for name, row in rows.items())
    dice = [first_number(row["Dice"]) for row in rows.values()]
    assert dice == sorted(dice, reverse=True)


def test_every_network_of_the_lists_has_a_row_and_costs(script):
    listed = yaml.safe_load((ROOT / "scripts" / "experiments" / "networks" / "all.yaml").read_text())["runs"]
    rows = script.ROWS["runs"]["peers_fold0_128"]
    assert set(rows) == {run["name"] for run in listed}
    assert set(rows.values()) <= set(load_script("benchmarks/network_costs").NETWORKS)


def test_cross_validation_fold_by_fold(script):
    experiment = RESULTS / "improved_folds_128"
    cells = rows_of(script.cross_validation_table(experiment))["HAN"]
    cases = {fold.name[5:]: cases_of(fold) for fold in sorted((experiment / "han").glob("fold_*"))}
    scores = pd.Series({fold: dice_of(own) for fold, own in cases.items()})
    assert [float(cells[f"fold {fold}"]) for fold in cases] == pytest.approx(scores.tolist(), abs=0.051)
    mean, deviation = map(float, cells["mean of folds"].split(" ± "))
    assert mean == pytest.approx(scores.mean(), abs=0.051)
    assert deviation == pytest.approx(scores.std(), abs=0.051)
    assert first_number(cells["all images"]) == pytest.approx(dice_of(pd.concat(cases.values())), abs=0.051)


@pytest.mark.parametrize(
    ("folds", "message"), [({"merged": [7, 8]}, r"has folds \[7, 8\], expected \[0"), (None, "is a single fold")]
)
def test_runs_of_other_folds(script, copied, folds, message):
    experiment = copied("improved_folds_128")
    summary = experiment / "flexible_unet" / "summary.json"
    record = json.loads(summary.read_text())
    summary.write_text(json.dumps({**record, "folds": folds and {**record["folds"], **folds}}))
    with pytest.raises(ValueError, match=message):
        script.cross_validation_table(experiment)


def test_released_weights(script):
    text = script.released_table(RESULTS)
    row = rows_of(text)["`mtl_oca`"]
    cases = cases_of(RESULTS / "normal_images_fold0_128" / "hybrid_multi_task_from_masks")
    normal = cases[cases["tp"] + cases["fn"] == 0]
    assert f"Dice, {len(cases) - len(normal)} images" in text
    assert first_number(row[f"Dice, {len(cases) - len(normal)} images with lesion"]) == pytest.approx(
        dice_of(cases), abs=0.051
    )
    rate = float(row[f"false-positive rate, {len(normal)} normal images"])
    assert rate == pytest.approx(100 * (normal["fp"] > 0).mean(), abs=0.051)
    right = 100 * (cases["predicted_class"] == cases["class"]).mean()
    assert first_number(row["class accuracy"]) == pytest.approx(right, abs=0.051)


def test_table_never_rounds_up_to_all_pixels(script, tmp_path):
    timed = {"milliseconds": 10.0, "lower_quartile": 9.0, "upper_quartile": 11.0, "ratio": 4.126}
    scores = {"largest_difference": 0.25, "equal_pixels": 0.9999999, "dice": 0.75, "dice_change": -0.0004}
    row = {"network": "HAN", "variant": "int8", "image_size": 64, "batch_size": 1, **timed, **scores}
    failed = {"network": "HAN", "variant": "torch.compile", "failure": "no compiler"}
    facts = {"versions": {"torch": "2"}, "repeats": 3, "processor": "CPU", "compared": 2, "images": "BUSI"}
    path = tmp_path / "benchmark.json"
    path.write_text(json.dumps({"provenance": facts, "rows": [row, failed]}))
    _, first, second = cells_of(script.inference_table(path, trained=True))
    assert first == ["HAN", "int8", "10.0 (9.0-11.0)", "4.13", "0.2", "99.9999", "75.00 (-0.04)"]
    assert second == ["HAN", "torch.compile", "no compiler", "", "", "", ""]
