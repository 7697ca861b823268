import csv
import json
import shutil
import statistics

import pandas as pd
import pytest
import yaml

from tests.scripts.load import ROOT, load_script


@pytest.fixture
def script(tmp_path):
    module = load_script("update_tables")
    shutil.copytree(ROOT / "docs" / "results", tmp_path / "results")
    module.RESULTS = tmp_path / "results"
    return module


def experiments(script):
    return [path for path in script.RESULTS.iterdir() if path.is_dir()]


def test_pages_are_true(script):
    assert experiments(script)
    for page in script.PAGES:
        assert script.filled(page.read_text()) == page.read_text()


def test_a_changed_case_is_noticed(script):
    run = script.RESULTS / "busi_fold0_128" / "han"
    lines = (run / "per_case.csv").read_text().splitlines()
    cells, column = lines[1].split(","), lines[0].split(",").index("tp")
    cells[column] = str(int(cells[column]) + 1)  # one true positive more
    (run / "per_case.csv").write_text("\n".join([lines[0], ",".join(cells), *lines[2:]]) + "\n")
    with pytest.raises(ValueError, match=r"summary\.json does not match per_case\.csv"):
        script.results_table(run.parent)


def test_a_dropped_case_is_noticed(script):
    run = script.RESULTS / "busi_fold0_128" / "han"
    lines = (run / "per_case.csv").read_text().splitlines()
    (run / "per_case.csv").write_text("\n".join(lines[:-1]) + "\n")
    with pytest.raises(ValueError, match=r"summary\.json does not match per_case\.csv"):
        script.results_table(run.parent)


def test_a_changed_page_is_noticed(script):
    page = "<!-- results busi_fold0_128 -->\nsomebody's own numbers\n<!-- end of results -->\nrest"
    filled = script.filled(page)
    assert "somebody" not in filled
    assert filled.endswith("<!-- end of results -->\nrest")


def test_rows_must_be_comparable(script):
    runs = sorted((script.RESULTS / "busi_fold0_128").iterdir())
    summary = runs[-1] / "summary.json"
    summary.write_text(summary.read_text().replace('"image_size": 128', '"image_size": 256', 1))
    with pytest.raises(ValueError, match="can't be compared with the other runs"):
        script.results_table(runs[0].parent)


def test_empty_experiment(script):
    shutil.rmtree(script.RESULTS / "busi_fold0_128")
    with pytest.raises(ValueError, match=r"no run with a per_case\.csv"):
        script.results_table(script.RESULTS / "busi_fold0_128")


def test_conventions_of_one_run_and_of_many(script):
    many = script.conventions_table(script.RESULTS / "explainable_fold0_128").splitlines()
    one = script.one_run_table(script.RESULTS / "explainable_fold0_128" / "model_7").splitlines()
    header = [cell.strip() for cell in many[2].split("|")]
    row = next(line for line in many if line.startswith("| 7: no attention"))
    cells = dict(zip(header, [cell.strip() for cell in row.split("|")], strict=True))
    for line in one[2:]:
        _, convention, dice, *_ = [cell.strip() for cell in line.split("|")]
        assert cells[convention.strip("`")] == dice
    assert len(cells["pixel AUC: training / validation / test"].split(" / ")) == 3


def test_network_costs(script):
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
    (script.RESULTS / "network_costs.json").write_text(json.dumps({"settings": settings, "rows": rows}))
    page = script.filled("a\n<!-- network_costs -->\nold\n<!-- end of network_costs -->\nb")
    assert page.startswith("a\n<!-- network_costs -->\n256 x 256 pixels, bf16, channels_last, batches of 10, Some CPU,")
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in page.splitlines() if line.startswith("|")]
    assert cells[2:] == [["HAN", "15,427,713", "41.0", "2.3", "4.39"], ["U-Net", "34,513,345", "130.7", "", ""]]


def cells_of(text, first):
    """The rows of the tables in a text whose first cell is the one given."""
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]
    return [row for row in rows if row[0] == first]


def test_classes_beside_masks(script):
    experiment = script.RESULTS / "mtl_oca_folds_128"
    text = script.classes_table(experiment)
    with open(experiment / "mtl_oca" / "per_case.csv", newline="") as file:
        cases = list(csv.DictReader(file))
    (header,), (scores, *confusion) = cells_of(text, "network")[:1], cells_of(text, "MTL-OCA")
    right = sum(case["predicted_class"] == case["class"] for case in cases)
    accuracy = dict(zip(header, scores, strict=True))["class accuracy"]
    assert accuracy.startswith(f"{100 * right / len(cases):.1f} [")
    for _, name, *taken in confusion:
        own = [case["predicted_class"] for case in cases if case["class"] == name]
        assert list(map(int, taken)) == [own.count(other) for other in ("benign", "malignant", "normal")]
    assert [row[1] for row in confusion] == ["benign", "malignant", "normal"]
    (alone,) = cells_of(text, "U-Net, masks alone")
    assert alone[-3:] == ["", "", ""] and alone[1]


def test_peers_beside_their_costs(script):
    text = script.peers_table(script.RESULTS / "peers_fold0_128")
    costs = json.loads((script.RESULTS / "network_costs.json").read_text())["rows"]
    rows = [cells for name in costs for cells in cells_of(text, name)]
    assert len(rows) == len(list((script.RESULTS / "peers_fold0_128").iterdir()))
    assert all(row[1] == f"{costs[row[0]]['size']['parameters']:,}" for row in rows)
    order = [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("|")][2:]
    dice = {row[0]: float(row[5].split(" ")[0]) for row in rows}
    assert order == sorted(order, key=lambda name: -dice[name])


def cases_of(folder):
    with open(folder / "per_case.csv", newline="") as file:
        return list(csv.DictReader(file))


def dice_of(rows):
    return statistics.mean(float(row["dice"]) for row in rows if int(row["tp"]) + int(row["fn"]) > 0)


def test_every_network_of_the_lists_has_a_row_and_costs(script):
    listed = yaml.safe_load((ROOT / "scripts" / "experiments" / "networks" / "all.yaml").read_text())["runs"]
    rows = script.ROWS["peers_fold0_128"]
    assert set(rows) == {run["name"] for run in listed}
    assert set(rows.values()) <= set(load_script("benchmarks/network_costs").NETWORKS)


def test_cross_validation_fold_by_fold(script):
    experiment = script.RESULTS / "improved_folds_128"
    ((header, *_), (row,)) = (cells_of(script.cross_validation_table(experiment), name) for name in ("network", "HAN"))
    cells = dict(zip(header, row, strict=True))
    folds = sorted((experiment / "han").glob("fold_*"))
    scores = [100 * dice_of(cases_of(fold)) for fold in folds]
    assert [float(cells[f"fold {fold.name[5:]}"]) for fold in folds] == pytest.approx(scores, abs=0.051)
    mean, deviation = map(float, cells["mean of folds"].split(" ± "))
    assert mean == pytest.approx(statistics.mean(scores), abs=0.051)
    assert deviation == pytest.approx(statistics.stdev(scores), abs=0.051)
    everything = [row for fold in folds for row in cases_of(fold)]
    assert float(cells["all images"].split(" ")[0]) == pytest.approx(100 * dice_of(everything), abs=0.051)


def test_runs_of_other_folds_are_no_one_cross_validation(script):
    experiment = script.RESULTS / "improved_folds_128"
    summary = experiment / "flexible_unet" / "summary.json"
    record = json.loads(summary.read_text())
    summary.write_text(json.dumps({**record, "folds": {**record["folds"], "merged": [7, 8]}}))
    with pytest.raises(ValueError, match=r"has folds \[7, 8\], expected \[0"):
        script.cross_validation_table(experiment)
    summary.write_text(json.dumps({**record, "folds": None}))
    with pytest.raises(ValueError, match="is a single fold"):
        script.cross_validation_table(experiment)


def test_released_weights(script):
    text = script.released_table(script.RESULTS)
    (row,) = cells_of(text, "`mtl_oca`")
    rows = cases_of(script.RESULTS / "normal_images_fold0_128" / "hybrid_multi_task_from_masks")
    empty = [row for row in rows if int(row["tp"]) + int(row["fn"]) == 0]
    assert f"{len(empty)} normal images" in text and f"Dice, {len(rows) - len(empty)} images" in text
    assert float(row[1].split(" ")[0]) == pytest.approx(100 * dice_of(rows), abs=0.051)
    assert float(row[3]) == pytest.approx(100 * sum(int(case["fp"]) > 0 for case in empty) / len(empty), abs=0.051)
    right = sum(case["predicted_class"] == case["class"] for case in rows)
    assert float(row[4].split(" ")[0]) == pytest.approx(100 * right / len(rows), abs=0.051)


def test_images_that_look_normal_get_an_empty_mask(script):
    cases = pd.DataFrame(
        {"group": "a", "probability_normal": [0.49, 0.5, 0.9], "tp": [5, 5, 0], "fp": [1, 1, 4], "fn": [2, 2, 0]}
    ).assign(tn=[8, 8, 12])
    emptied = script.emptied(cases, 0.5)
    assert emptied[["tp", "fp", "fn", "tn"]].to_numpy().tolist() == [[5, 1, 2, 8], [0, 0, 7, 9], [0, 0, 0, 16]]


def test_table_never_rounds_up_to_all_pixels(tmp_path):
    row = {
        **{"network": "HAN", "variant": "int8", "milliseconds": 10.0, "lower_quartile": 9.0, "upper_quartile": 11.0},
        **{
            "ratio": 4.126,
            "largest_difference": 0.25,
            "equal_pixels": 0.9999999,
            "image_size": 64,
            "batch_size": 1,
            "dice": 0.75,
            "dice_change": -0.0004,
        },
    }
    failed = {"network": "HAN", "variant": "torch.compile", "failure": "no compiler"}
    facts = {"versions": {"torch": "2"}, "repeats": 3, "processor": "CPU", "compared": 2, "images": "BUSI"}
    path = tmp_path / "benchmark.json"
    path.write_text(json.dumps({"provenance": facts, "rows": [row, failed]}))
    lines = load_script("tables_of_costs").inference_table(path, trained=True).splitlines()
    assert lines[4] == "| HAN | int8 | 10.0 (9.0-11.0) | 4.13 | 0.2 | 99.9999 | 75.00 (-0.04) |"
    assert "no compiler" in lines[5]
