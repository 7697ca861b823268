import re
from pathlib import Path

import pytest
from hybrid_attention.experiments import read_plan


def test_runs_are_spread_over_seeds_and_folds(write_list):
    runs = [{"name": "han"}, {"name": "one", "folds": [3], "seeds": [7]}]
    plan = read_plan(write_list(folds=[0, 1], seeds=[0, 5], runs=runs))
    assert [run.label for run in plan.runs] == [
        "han/seed_0/fold_0",
        "han/seed_0/fold_1",
        "han/seed_5/fold_0",
        "han/seed_5/fold_1",
        "one/seed_7/fold_3",
    ]


def test_a_run_adds_options_and_replaces_the_rest(write_list):
    overlay = "bundles/hybrid/configs/from_scratch.yaml"
    runs = [
        {"name": "own", "options": {"epochs": 9, "batch_size": 2}, "configs": [], "parts": ["validation", "test"]},
        {"name": "plain"},
        {"name": "other", "bundle": "explainable", "evaluation_options": {"gradcam": False}},
    ]
    own, plain, other = read_plan(
        write_list(options={"epochs": 3, "image_size": 64}, configs=[overlay], runs=runs)
    ).runs
    assert own.options == {"epochs": 9, "image_size": 64, "batch_size": 2}
    assert (own.configs, own.steps, own.recipe.epochs) == ((), ("training", "validation", "test"), 9)
    assert plain.options == {"epochs": 3, "image_size": 64}
    assert (plain.configs, plain.steps, plain.recipe.epochs) == ((overlay,), ("training", "test"), 3)
    assert (other.bundle, other.evaluation_options) == ("explainable", {"gradcam": False})


def test_the_digest_is_of_what_the_configs_say(write_list):
    def digest(**keys):
        return read_plan(write_list(**keys)).runs[0].recipe.config_sha256

    assert digest() == digest(folds=[1], seeds=[2]) == digest(options={"epochs": 3, "image_size": 256})
    different = {digest(), digest(options={"epochs": 4}), digest(bundle="explainable")}
    different.add(digest(configs=["bundles/hybrid/configs/from_scratch.yaml"]))
    assert len(different) == 4


def test_the_definition_names_no_folder_of_this_machine(write_list):
    network = {"_target_": "hybrid_attention.networks.PlainUNet", "channels": "$[16 / 2]"}
    options = {"encoder_weights": "/somewhere/w.pth", "learning_rate": "$0.1/2", "network_def": network}
    given = {"options": {**options, "initial_weights": "a/b.pt"}, "evaluation_options": {"groups_csv": "/a/c.csv"}}
    definition = read_plan(write_list(**given)).runs[0].definition()
    assert definition["options"] == {**given["options"], "encoder_weights": "w.pth"}
    assert definition["evaluation_options"] == {"groups_csv": "c.csv"}


def run_with(**options):
    return {"runs": [{"name": "a", "options": options}]}


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"option": {}}, "unknown key 'option', known are bundle, configs, evaluation_options, folds"),
        ({"runs": [{"name": "a", "optoins": {}}]}, "run 'a': unknown key 'optoins'"),
        ({"runs": [{"name": "a"}, {"name": "b"}, {"name": "a"}]}, "run 'a': the name is given twice"),
        ({"runs": []}, "list `runs` of one run or more"),
        ({"runs": ["han"]}, "run 1 must be a mapping with a `name`, got 'han'"),
        ({"runs": [{"options": {}}]}, "run 1: `name` must be text of letters, digits and underscores .* got None"),
        ({"runs": [{"name": "../x"}]}, r"got '\.\./x'"),
        ({"name": "a b"}, "`name` must be text .* got 'a b'"),
        ({"bundle": "hybird"}, "there is no bundle 'hybird' in .*, which holds .*hybrid"),
        ({"bundle": None}, "`bundle` must be the name of a folder below bundles/, got None"),
        ({"configs": ["bundles/no.yaml"]}, "there is no config file bundles/no.yaml in "),
        ({"configs": ["/etc/x.yaml"]}, "config /etc/x.yaml must be relative to the checkout"),
        ({"configs": "x.yaml"}, "`configs` must be a list of paths, got 'x.yaml'"),
        ({"folds": [5]}, "fold must be from 0 to 4, got 5"),
        ({"folds": [-1]}, r"`folds` must be a list of whole numbers from 0, got \[-1\]"),
        ({"folds": 0}, "`folds` must be a list of whole numbers from 0, got 0"),
        ({"folds": [True]}, r"`folds` .* got \[True\]"),
        ({"seeds": [0, 0]}, r"`seeds` must name each value once and at least one, got \[0, 0\]"),
        ({"seeds": []}, r"`seeds` must name each value once and at least one, got \[\]"),
        ({"parts": ["tests"]}, r"`parts` must be a list of test, validation, train, got \['tests'\]"),
        ({"options": [1]}, r"`options` must be a mapping of names to values, got \[1\]"),
        (run_with(epoch=3), "--epoch names no key of the config; did you mean --epochs"),
        (run_with(**{"network_def#deep#er": 3}), "--network_def#deep#er names no key"),
        (run_with(gradcam=False), "--gradcam names no key"),  # of the training; it is an evaluation option
        (run_with(fold=1), "option fold is set by the runner"),
        (run_with(seed=1), "option seed is set by the runner"),
        (run_with(output_dir="x"), "option output_dir is set by the runner"),
        (run_with(dataset_dir="x"), "option dataset_dir is set by the runner"),
        (run_with(config_file="x"), "option config_file is set by the runner"),
        (run_with(learning_rate="1e-3"), "option learning_rate is the text '1e-3' in YAML"),
        (run_with(learning_rate="high"), "learning_rate must be a number, got 'high'"),
        (run_with(learning_rate=float("nan")), "option learning_rate must be text, a number"),
        (run_with(lesions_only=1), "lesions_only must be True or False, got 1"),
        (run_with(image_size=True), "image_size must be a whole number from 1, got True"),
        (run_with(network_def="PlainUNet"), "network_def must be a mapping, got 'PlainUNet'"),
        (run_with(resume="true"), "option resume is set by the runner"),
        (run_with(encoder_weights="null"), "encoder_weights null is the text"),
        (run_with(epochs=0), "epochs must be a whole number from 1, got 0"),
        (run_with(network_def={"_target_": "hybrid_attention.networks.PlainUnet"}), "PlainUnet can't be imported"),
        (run_with(network_def={"_target_": "no_such_package.Net"}), "no_such_package.Net can't be imported"),
        (run_with(network_def={"_target_": "PlainUNet"}), "_target_ PlainUNet can't be imported: MONAI has none"),
        ({"evaluation_options": {"part": "train"}}, "option part is set by the runner"),
        ({"evaluation_options": {"grad_cam": True}}, "--grad_cam names no key of the config; did you mean --gradcam"),
    ],
)
def test_faults(write_list, keys, message):
    with pytest.raises(ValueError, match=message):
        read_plan(write_list(**keys))


def test_what_is_no_fault(write_list):
    options = {
        "learning_rate": 1.0e-3,
        "encoder_weights": "imagenet",
        "network_def#tam": False,
        "loss": {"_target_": "DiceLoss", "sigmoid": True},
        "batch_size": "$2 * 4",
        "groups_csv": None,
    }
    assert (
        read_plan(write_list(**run_with(**options), evaluation_options={"gradcam": True})).runs[0].options["epochs"]
        == 3
    )


def test_a_module_that_fails_to_import_is_told(write_list, tmp_path, monkeypatch):
    (tmp_path / "needs_more.py").write_text("import package_that_is_missing\nclass Net: pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match=r"needs_more\.Net can't be imported: .*No module named 'package_that_is_miss"):
        read_plan(write_list(**run_with(network_def={"_target_": "needs_more.Net"})))


def test_all_faults_are_told_together(write_list):
    path = write_list(typo=1, runs=[{"name": "a", "folds": [9]}, {"name": "b", "options": {"epoch": 3}}, {"name": "a"}])
    with pytest.raises(ValueError) as raised:
        read_plan(path)
    lines = str(raised.value).splitlines()
    assert re.search(r"list\.yaml has 4 faults:$", lines[0])
    assert [line.strip().split(":")[0].split(",")[0] for line in lines[1:]] == [
        "unknown key 'typo'",
        "run 'a'",
        "run 'b'",
        "run 'a'",
    ]


def test_a_list_without_a_name_is_a_fault_among_others(tmp_path):
    path = tmp_path / "list.yaml"
    path.write_text("bundle: hybrid\nruns: [{name: a}, {name: b, folds: [9]}]\n")
    with pytest.raises(ValueError) as raised:
        read_plan(path)
    assert [line.strip() for line in str(raised.value).splitlines()] == [
        f"{path} has 2 faults:",
        "`name` must be text of letters, digits and underscores (it names a folder), got None",
        "run 'b': fold must be from 0 to 4, got 9",
    ]


def test_a_key_twice(tmp_path):
    path = tmp_path / "twice.yaml"
    path.write_text("name: a\nbundle: hybrid\nruns:\n- name: b\n  folds: [0]\n  folds: [1]\n")
    with pytest.raises(ValueError, match="Duplicate key: `folds`"):
        read_plan(path)


def test_no_yaml(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no list of runs .*none\.yaml$"):
        read_plan(tmp_path / "none.yaml")
    (tmp_path / "bad.yaml").write_text("a: [")
    with pytest.raises(ValueError, match="is no YAML file"):
        read_plan(tmp_path / "bad.yaml")


@pytest.mark.parametrize("name", ["study", "study.yaml", "old/study.yaml"])
def test_a_list_is_named_that_is_meant(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("scripts/experiments").mkdir(parents=True)
    Path("scripts/experiments/study.yaml").touch()
    with pytest.raises(FileNotFoundError, match=rf"of runs {name}; did you mean scripts/experiments/study\.yaml\?"):
        read_plan(name)


def test_only(write_list):
    plan = read_plan(write_list(runs=[{"name": "a"}, {"name": "b"}], folds=[0, 1]))
    assert [run.label for run in plan.only(["b"]).runs] == ["b/seed_0/fold_0", "b/seed_0/fold_1"]
    assert plan.only([]) == plan
    with pytest.raises(ValueError, match="trial has no run c; its runs are a, b"):
        plan.only(["a", "c"])


def test_the_checkout_above_the_list_is_used(tmp_path, write_list):
    configs = tmp_path / "bundles" / "tiny" / "configs"
    configs.mkdir(parents=True)
    keys = "fold seed resume epochs".split()
    places = "dataset_dir: null\noutput_dir: null\n"
    (configs / "train.yaml").write_text(places + "\n".join(f"{key}: 1" for key in keys))
    (configs / "evaluate.yaml").write_text("part: test\nrun: $@part\n")
    plan = read_plan(write_list(bundle="tiny", options={"epochs": 2}))
    assert plan.root == tmp_path
    with pytest.raises(ValueError, match=r"there is no bundle 'hybrid' in .*, which holds tiny"):
        read_plan(write_list())


def test_runs_from_another_file(write_list):
    path = write_list(runs="shared/two.yaml")
    shared = path.parent / "shared" / "two.yaml"
    with pytest.raises(FileNotFoundError, match=r"no list of runs .*two\.yaml"):
        read_plan(path)
    shared.parent.mkdir()
    shared.write_text("runs: [{name: a}, {name: b, folds: [1]}]\n")
    assert [run.label for run in read_plan(path).runs] == ["a/seed_0/fold_0", "b/seed_0/fold_1"]
    shared.write_text("name: other\nruns: [{name: a}]\n")
    with pytest.raises(ValueError, match="must be a mapping with `runs` alone"):
        read_plan(path)
