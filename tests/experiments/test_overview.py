import json

import pytest
from hybrid_attention.experiments import overview, read_plan
from hybrid_attention.experiments.overview import TimeLeft


@pytest.fixture
def shown(write_list, images, tmp_path):
    return lambda **keys: overview(read_plan(write_list(**keys)), images, tmp_path / "runs").splitlines()


def test_nothing_is_known_at_first(shown, tmp_path, images):
    lines = shown(parts=["test", "train"])
    assert lines[1] == "han/seed_0/fold_0: to do, 3 steps of unknown time left"
    assert [line.split()[4] for line in lines[2:5]] == ["training", "evaluating", "evaluating"]
    assert f"--output_dir {tmp_path}/runs/trial/han/seed_0/fold_0" in lines[2]
    assert lines[-1] == "trial: 0 of 1 runs are done; one after another 3 steps of unknown time left"
    assert not (tmp_path / "runs").exists()


def test_estimates_come_from_like_runs(shown, run_list, tmp_path):
    runs = [{"name": "half", "options": {"epochs": 5, "batch_size": 2}}, {"name": "done"}, {"name": "new"}]
    runs += [{"name": "bad", "options": {"early_stop_patience": 7}}, {"name": "other", "bundle": "explainable"}]
    assert run_list(runs=runs, only=["done"]) == 0
    assert run_list(runs=runs, only=["bad"]) == 1
    assert run_list(runs=runs, only=["half"], minutes=1 / 60) == 3
    states = [line for line in shown(runs=runs) if not line.startswith(" ")]
    assert states[1].startswith("half/seed_0/fold_0: part: epoch 2 of 5, about 0:00:0")  # 3 epochs of 2 s, a test
    assert states[2].startswith("done/seed_0/fold_0: done, 6 s")
    assert states[3].startswith("new/seed_0/fold_0: to do, about 0:00:0")
    assert states[4].startswith("bad/seed_0/fold_0: failed (training: exit status 1: The cause: ValueError: no luck), ")
    assert states[5] == "other/seed_0/fold_0: to do, 2 steps of unknown time left"
    assert states[6].startswith("trial: 1 of 5 runs are done; one after another about 0:00:")
    assert states[6].endswith(" and 2 steps of unknown time left")


def test_trained_but_not_evaluated(shown, run_list, tmp_path):
    assert run_list() == 0
    assert shown(parts=["test", "train"])[1].startswith(
        "han/seed_0/fold_0: part: trained, evaluated test, 1 step of unk"
    )


def test_changed_configs_are_noted(shown, run_list, tmp_path):
    assert run_list() == 0
    assert not [line for line in shown() if "note" in line]
    path = tmp_path / "runs/trial/han/seed_0/fold_0/state.json"
    state = json.loads(path.read_text())
    path.write_text(json.dumps({**state, "config_sha256": "of another config"}))
    (note,) = (line for line in shown() if "note" in line)
    assert note == "  note: han/seed_0/fold_0: its config files say something else than when it was started"


def test_another_definition_is_an_error(shown, run_list):
    assert run_list() == 0
    with pytest.raises(ValueError, match=r"options\.epochs was 3, is 4"):
        shown(options={"epochs": 4})


def test_sums():
    assert str(TimeLeft(60) + TimeLeft(3)) == "about 0:01:03 left"
    assert str(TimeLeft(60) + TimeLeft(0, 1)) == "about 0:01:00 and 1 step of unknown time left"
