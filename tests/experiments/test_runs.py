from pathlib import Path

import pytest
from hybrid_attention.experiments import read_runs


def labels(runs):
    return [run.label for run in runs]


def test_runs_are_spread_over_seeds_and_folds(runs_of):
    runs = [{"name": "han"}, {"name": "one", "folds": [3], "seeds": [7]}]
    assert labels(runs_of(folds=[0, 1], seeds=[0, 5], runs=runs)) == [
        "han/seed_0/fold_0",
        "han/seed_0/fold_1",
        "han/seed_5/fold_0",
        "han/seed_5/fold_1",
        "one/seed_7/fold_3",
    ]


def test_a_run_adds_options_and_replaces_the_rest(runs_of):
    overlay = "bundles/hybrid/configs/from_scratch.yaml"
    runs = [
        {"name": "own", "options": {"epochs": 9, "batch_size": 2}, "configs": [], "parts": ["validation", "test"]},
        {"name": "plain"},
        {"name": "other", "bundle": "explainable", "evaluation_options": {"gradcam": False}},
    ]
    own, plain, other = runs_of(options={"epochs": 3, "image_size": 64}, configs=[overlay], runs=runs)
    assert own.options == {"epochs": 9, "image_size": 64, "batch_size": 2}
    assert (own.configs, own.parts, own.epochs) == ((), ("validation", "test"), 9)
    assert plain.options == {"epochs": 3, "image_size": 64}
    assert (plain.configs, plain.parts, plain.epochs) == ((overlay,), ("test",), 3)
    assert (other.bundle, other.evaluation_options) == ("explainable", {"gradcam": False})


def test_the_definition_names_no_folder_of_this_machine(runs_of):
    network = {"_target_": "hybrid_attention.networks.PlainUNet", "channels": "$[16 / 2]"}
    options = {"encoder_weights": "/somewhere/w.pth", "learning_rate": "$0.1/2", "network_def": network}
    given = {"options": {**options, "initial_weights": "a/b.pt"}, "evaluation_options": {"groups_csv": "/a/c.csv"}}
    definition = runs_of(**given)[0].definition()
    assert definition["options"] == {**given["options"], "encoder_weights": "w.pth"}
    assert definition["evaluation_options"] == {"groups_csv": "c.csv"}


def run_with(**options):
    return {"runs": [{"name": "a", "options": options}]}


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        ({"option": {}}, "option"),
        ({"runs": [{"name": "a", "optoins": {}}]}, r"runs\[0\].*optoins"),
        ({"runs": [{"name": "a"}, {"name": "b"}, {"name": "a"}]}, "more than one run a"),
        ({"runs": []}, "runs: "),
        ({"runs": ["han"]}, "'han'"),
        ({"runs": [{"options": {}}]}, r"runs\[0\]: 'name'"),
        ({"runs": [{"name": "../x"}]}, r"'\.\./x'"),
        ({"name": "a b"}, "'a b'"),
        ({"name": None}, "'name'"),
        ({"bundle": "hybird"}, "hybird"),
        ({"configs": ["bundles/no.yaml"]}, "bundles/no.yaml"),
        ({"configs": ["/etc/passwd"]}, "/etc/passwd"),
        ({"configs": "x.yaml"}, "'x.yaml'"),
        ({"folds": [-1]}, r"folds\[0\]: -1"),
        ({"folds": 0}, "folds: 0"),
        ({"folds": [True]}, "True"),
        ({"seeds": [0, 0]}, r"seeds: \[0, 0\]"),
        ({"seeds": []}, "seeds: "),
        ({"parts": ["tests"]}, "'tests'"),
        ({"options": [1]}, r"options: \[1\]"),
        (run_with(epoch=3), "--epoch is not a key of the config; did you mean --epochs"),
        (run_with(**{"network_def#deep#er": 3}), "network_def#deep#er"),
        (run_with(gradcam=False), "gradcam"),  # of the training; it is an evaluation option
        (run_with(fold=1), "fold is set by the runner"),
        (run_with(resume="true"), "resume is set by the runner"),
        (run_with(config_file="x"), "config_file is set by the runner"),
        ({"evaluation_options": {"part": "train"}}, "part is set by the runner"),
        ({"evaluation_options": {"grad_cam": True}}, "grad_cam"),
        (run_with(epochs="$3"), r"epochs .* '\$3'"),
    ],
)
def test_faults(runs_of, keys, value):
    with pytest.raises(ValueError, match=value):
        runs_of(**keys)


def test_what_is_not_a_fault(runs_of):
    options = {
        "learning_rate": 1.0e-3,
        "encoder_weights": "imagenet",
        "network_def#tam": False,
        "loss": {"_target_": "DiceLoss", "sigmoid": True},
        "batch_size": "$2 * 4",
        "groups_csv": None,
    }
    assert runs_of(**run_with(**options), evaluation_options={"gradcam": True})[0].options["epochs"] == 3


@pytest.mark.parametrize(("text", "message"), [("a: [", r"bad\.yaml"), ("name: a\nname: b\n", "Duplicate key: `name`")])
def test_not_a_yaml_file(text, message, tmp_path):
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_runs(path, tmp_path)


@pytest.mark.parametrize("name", ["study", "study.yaml", "old/study.yaml"])
def test_a_list_is_named_that_is_meant(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("scripts/experiments").mkdir(parents=True)
    Path("scripts/experiments/study.yaml").touch()
    with pytest.raises(FileNotFoundError, match=rf"{name} .*did you mean scripts/experiments/study\.yaml\?"):
        read_runs(name, tmp_path)


def test_only(runs_of):
    keys = {"runs": [{"name": "a"}, {"name": "b"}], "folds": [0, 1]}
    assert labels(runs_of(["b"], **keys)) == ["b/seed_0/fold_0", "b/seed_0/fold_1"]
    with pytest.raises(ValueError, match="no run c; its runs are a, b"):
        runs_of(["a", "c"], **keys)


def test_the_checkout_above_the_list_is_used(tmp_path, runs_of):
    configs = tmp_path / "bundles" / "tiny" / "configs"
    configs.mkdir(parents=True)
    places = "dataset_dir: null\noutput_dir: null\n"
    (configs / "train.yaml").write_text(places + "\n".join(f"{key}: 1" for key in ("fold", "seed", "resume", "epochs")))
    (configs / "evaluate.yaml").write_text("part: test\nrun: $@part\n")
    assert runs_of(bundle="tiny", options={"epochs": 2})[0].root == tmp_path
    with pytest.raises(ValueError, match=r"hybrid/configs/train\.yaml"):
        runs_of()


def test_runs_from_another_file(write_list, tmp_path):
    path = write_list(runs="shared/two.yaml")
    shared = path.parent / "shared" / "two.yaml"
    with pytest.raises(FileNotFoundError, match=r"two\.yaml"):
        read_runs(path, tmp_path)
    shared.parent.mkdir()
    shared.write_text("runs: [{name: a}, {name: b, folds: [1]}]\n")
    assert labels(read_runs(path, tmp_path)) == ["a/seed_0/fold_0", "b/seed_0/fold_1"]
