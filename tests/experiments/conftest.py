import json
from pathlib import Path

import hybrid_attention.evaluation
import pytest
import yaml
from hybrid_attention.experiments import Runner, read_runs

from tests.experiments import drawn_bundle, fake_bundle

CONTENT = {"name": "trial", "bundle": "hybrid", "options": {"epochs": 3}, "runs": [{"name": "han"}]}


@pytest.fixture
def write_list(tmp_path):
    """Write a list of runs; the keys given replace those of a small one."""

    def write(**keys):
        path = tmp_path / "list.yaml"
        content = {key: value for key, value in {**CONTENT, **keys}.items() if value is not None}
        path.write_text(yaml.safe_dump(content))
        return path

    return write


@pytest.fixture
def images(tmp_path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    (folder / "a.png").write_bytes(b"12345")
    return folder


@pytest.fixture
def merged(monkeypatch):
    """Calls of the function that unites folds, which is tested elsewhere."""
    calls = []

    def merge_folds(folders, out):
        calls.append((list(folders), out))
        out.mkdir(exist_ok=True)
        (out / "per_case.csv").write_text("case_id\nall\n")
        folds = [int(folder.parent.name.removeprefix("fold_")) for folder in folders]
        (out / "summary.json").write_text(json.dumps({"folds": {"merged": folds}}))
        return out

    monkeypatch.setattr(hybrid_attention.evaluation, "merge_folds", merge_folds)
    return calls


@pytest.fixture
def runs_of(write_list, tmp_path):
    """Read a list of runs whose results go to `runs`."""
    return lambda only=(), **keys: read_runs(write_list(**keys), tmp_path / "runs", only)


@pytest.fixture
def run_list(runs_of, images, merged):
    """Run a list with the fake bundle; returns the exit status."""

    def run(only=(), minutes=None, jobs=1, command=fake_bundle.command, **keys):
        return Runner(runs_of(only, **keys), [images], minutes, jobs, command=command)()

    return run


@pytest.fixture
def run_folds(runs_of, images):
    """Run a list whose folds are merged for real; returns the exit status. `epochs`: see `drawn_bundle`."""
    return lambda epochs, **keys: Runner(runs_of(**keys), [images], command=drawn_bundle.command(epochs))()
