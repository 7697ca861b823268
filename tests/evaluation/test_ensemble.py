from pathlib import Path

import pytest
from hybrid_attention.evaluation.ensemble import open_runs


@pytest.fixture
def opened(monkeypatch, tmp_path):
    """Open runs that are no more than a file, and return their names."""
    monkeypatch.setattr("hybrid_attention.evaluation.ensemble.TrainedRun", lambda path, *given: path)

    def names(*runs):
        places = []
        for run in runs:
            name, _, place = run.rpartition("=")
            folder = tmp_path / place / "models"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "model.pt").touch()
            places.append(f"{name}={tmp_path / place}" if name else tmp_path / place)
        runs = open_runs(places, "images")
        assert [Path(path).parent.parent for path in runs.values()] == [Path(str(one).split("=")[-1]) for one in places]
        return list(runs)

    return names


def test_names_are_what_differs(opened):
    assert opened("list/han/seed_0/fold_0", "list/unet/seed_0/fold_0") == ["han", "unet"]
    assert opened("list/han/seed_0/fold_0", "list/han/seed_1/fold_0") == ["seed_0", "seed_1"]
    assert opened("a/han/seed_0/fold_0", "b/han/seed_1/fold_0") == ["a/han/seed_0", "b/han/seed_1"]
    assert opened("runs/han", "runs/han/more") == ["han", "more"]


def test_a_single_run_is_called_by_its_folder(opened):
    assert opened("list/han/seed_0/fold_0") == ["han"]
    assert opened("runs/my network") == ["my network"]


def test_a_bundle_is_called_by_its_folder(monkeypatch, tmp_path):
    monkeypatch.setattr("hybrid_attention.evaluation.ensemble.TrainedRun", lambda path, *_: path)
    weights = tmp_path / "hybrid" / "models" / "released" / "model_1_of_2.pt"
    weights.parent.mkdir(parents=True)
    weights.touch()
    assert open_runs([tmp_path / "hybrid"], "images") == {"hybrid": weights}


def test_given_names(opened):
    assert opened("A=list/han/fold_0", "list/unet/fold_0", "B=x")[:1] == ["A"]
    assert opened("A=runs/one") == ["A"]


def test_twice(opened):
    with pytest.raises(ValueError, match=r"model.pt is given twice; the runs must differ"):
        opened("runs/han", "runs/han")
    with pytest.raises(ValueError, match="A is given twice"):
        opened("A=runs/han", "A=runs/unet")


def test_bad_words(tmp_path):
    with pytest.raises(ValueError, match="no run is given"):
        open_runs([], "images")
    with pytest.raises(ValueError, match="FOLDER or NAME=FOLDER, got 'A='"):
        open_runs(["A="], "images")
    with pytest.raises(FileNotFoundError, match="no weights at"):
        open_runs([tmp_path], "images")
