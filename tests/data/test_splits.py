import random

import numpy as np
import pytest
from hybrid_attention.data import DataError, busi_facts, split_cases
from hybrid_attention.data.splits import PARTS, RULES, is_busi


def as_busi(names=None):
    """Cases as `busi_datalist` gives them for BUSI, from the shipped facts."""
    return [
        {
            "case_id": name,
            "class": row["class"],
            "group": name,
            "synthetic": False,
            "lesion_area_fraction": float(row["lesion_area_fraction"]),
        }
        for name, row in busi_facts().items()
        if names is None or name in names
    ]


def own(count=60, groups=20):
    generator = random.Random(0)
    return [
        {
            "case_id": f"{number}",
            "class": generator.choice(["benign", "malignant"]),
            "group": str(number % groups),
            "lesion_area_fraction": 0.1,
        }
        for number in range(count)
    ]


def assert_no_leak(split, group):
    owners = {}
    for part in ("train", "validation", "test"):
        for case in getattr(split, part):
            assert owners.setdefault(group(case), part) == part


@pytest.mark.parametrize("fold", range(5))
@pytest.mark.parametrize("lesions_only", [True, False])
def test_busi_groups_never_straddle(fold, lesions_only):
    split = split_cases(as_busi(), fold=fold, lesions_only=lesions_only)
    facts = busi_facts()
    assert_no_leak(split, lambda case: facts[case["case_id"]]["duplicate_group"])
    assert all(case["group"] == facts[case["case_id"]]["duplicate_group"] for case in split.test)
    assert {int(facts[case["case_id"]]["fold"]) for case in split.test} == {fold}
    assert {int(facts[case["case_id"]]["fold"]) for case in split.validation} == {(fold + 1) % 5}
    assert sum(len(getattr(split, part)) for part in PARTS) == 780
    if fold == 0 and lesions_only:
        assert [len(getattr(split, part)) for part in PARTS] == [377, 126, 125, 152]
    crossing = {name for name, row in facts.items() if row["group_crosses_classes"] == "1"}
    assert len(crossing) == 21 and crossing <= {case["case_id"] for case in split.excluded}
    classes = {case["class"] for case in split.train + split.validation + split.test}
    assert classes == ({"benign", "malignant"} if lesions_only else {"benign", "malignant", "normal"})


@pytest.mark.parametrize("rule", ["leak_free", "random"])
def test_test_folds_cover_every_case_once(rule):
    seen = [case["case_id"] for fold in range(5) for case in split_cases(as_busi(), fold, split_rule=rule).test]
    assert len(seen) == len(set(seen)) == 628


def crossing_share(split):
    trained = {case["group"] for case in split.train}
    return sum(case["group"] in trained for case in split.test) / len(split.test)


def test_random_folds_have_the_sizes_of_the_leak_free_ones():
    free, random_split = (split_cases(as_busi(), 1, lesions_only=False, split_rule=rule) for rule in RULES[:2])
    for part in PARTS:
        classes = [sorted(case["class"] for case in getattr(split, part)) for split in (free, random_split)]
        assert classes[0] == classes[1]
    assert crossing_share(free) == 0
    assert 0.2 < crossing_share(random_split) < 0.6
    assert "near-duplicates on both sides, test fold 1 of 5" in random_split.rule
    assert split_cases(as_busi(), 1, lesions_only=False, split_rule="random", seed=1).test != random_split.test


def test_random_folds_of_several_data_sets():
    cases = [{**case, "dataset": "busi", "image": f"a/{case['case_id']}"} for case in as_busi()]
    cases += [{**case, "dataset": "own", "image": f"b/{case['case_id']}"} for case in own()]
    splits = [split_cases(cases, split_rule=rule) for rule in RULES[:2]]
    counts = [[sum(case["dataset"] == "own" for case in split.part(part)) for part in PARTS[:3]] for split in splits]
    assert counts[0] == counts[1]


@pytest.mark.parametrize(
    ("sizes", "lesions_only", "expected"),
    [
        ((624, 78, 78), False, [624, 78, 78]),
        ((560, 140, 80), True, [465, 116, 66]),  # 647 of 780 images have a lesion
    ],
)
def test_paper_sizes(sizes, lesions_only, expected):
    split = split_cases(as_busi(), lesions_only=lesions_only, split_rule="paper", paper_sizes=sizes)
    assert [len(split.part(part)) for part in PARTS[:3]] == expected
    malignant = sum(case["class"] == "malignant" for case in split.test) / len(split.test)
    assert malignant == pytest.approx(210 / (647 if lesions_only else 780), abs=0.01)
    assert crossing_share(split) > 0.2
    assert "paper" in split.rule


SIZES = (40, 10, 10)


@pytest.mark.parametrize(
    ("busi", "arguments", "message"),
    [
        (False, {"split_rule": "paper", "paper_sizes": SIZES}, "paper is for BUSI"),
        (True, {"split_rule": "paper"}, "paper is for BUSI"),
        (True, {"split_rule": "paper", "paper_sizes": SIZES, "fold": 1}, "one split, fold 0, got fold 1"),
        (True, {"split_rule": "papers"}, "leak_free, random, paper, got 'papers'"),
        (True, {"split_csv": "mine.csv", "split_rule": "random"}, r"random and split_csv mine\.csv exclude"),
        (True, {"num_folds": 10}, "num_folds must be 5 for BUSI leak-free folds, got 10"),
        (False, {"fold": 5}, "fold must be from 0 to 4, got 5"),
        (False, {"fold": -1}, "fold must be from 0 to 4, got -1"),
        (False, {"num_folds": 2}, "at least 3"),
        (False, {"num_folds": 21}, "20 groups of images can't fill 21 folds"),
    ],
)
def test_bad_arguments(busi, arguments, message):
    with pytest.raises(ValueError, match=message):
        split_cases(as_busi() if busi else own(), **arguments)


def test_nothing_to_split_or_to_read():
    with pytest.raises(FileNotFoundError, match=r"none\.csv does not exist"):
        split_cases(own(), split_csv="none.csv")
    with pytest.raises(ValueError, match=r"leave too few for train \(0\), validation \(0\), test \(0\)"):
        split_cases([{**case, "class": "normal"} for case in own()])


def test_busi_needs_more_than_names():
    cases = as_busi()
    assert is_busi(cases) and is_busi(cases[:10])
    for other in ({"synthetic": True}, {"group": "mine"}):
        assert not is_busi([{**case, **other} for case in cases])
    assert not is_busi([{**case, "case_id": f"own/{n}", "group": f"own/{n}"} for n, case in enumerate(cases)])
    some_masks_corrected = [
        {**case, "lesion_area_fraction": case["lesion_area_fraction"] + (0.05 if index % 10 == 0 else 0)}
        for index, case in enumerate(cases)
    ]
    assert is_busi(some_masks_corrected)
    normals = [case for case in cases if case["class"] == "normal"]  # empty masks prove nothing
    strangers = [{**case, "case_id": f"benign/x{index}.png"} for index, case in enumerate(cases[:20])]
    assert not is_busi([{**case, "group": case["case_id"]} for case in normals + strangers])


def test_busi_with_other_masks_needs_groups():
    cases = [{**case, "lesion_area_fraction": case["lesion_area_fraction"] * 0.75} for case in as_busi()]
    with pytest.raises(ValueError, match=r"have BUSI's names, but only \d+ of 647 lesions.*busi_cases\.csv"):
        split_cases(cases)
    facts = busi_facts()
    split = split_cases([{**case, "group": facts[case["case_id"]]["duplicate_group"]} for case in cases])
    assert_no_leak(split, lambda case: case["group"])


def test_busi_mixed_with_other_images_is_refused():
    stranger = {"case_id": "benign/new.png", "class": "benign", "group": "benign/new.png", "lesion_area_fraction": 0.1}
    with pytest.raises(ValueError, match=r"780 of 781 images are BUSI's, 1 are not .*benign/new\.png"):
        split_cases([*as_busi(), stranger])
    grouped = [{**case, "group": f"g{index // 3}"} for index, case in enumerate([*as_busi(), stranger])]
    assert_no_leak(split_cases(grouped), lambda case: case["group"])
    frame = {**stranger, "group": "benign/loop.dcm"}
    with pytest.raises(ValueError, match=r"780 of 782 images are BUSI's, 2 are not .*benign/loop\.dcm#1"):
        split_cases([*as_busi(), *({**frame, "case_id": f"benign/loop.dcm#{number}"} for number in (1, 2))])


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_own_data(seed):
    cases = own()
    split = split_cases(cases, num_folds=4, seed=seed)
    assert_no_leak(split, lambda case: case["group"])
    assert len(split.train) + len(split.validation) + len(split.test) == 60
    shares = [np.mean([case["class"] == "benign" for case in part]) for part in (cases, split.test)]
    assert abs(shares[0] - shares[1]) < 0.2
    assert split_cases(cases, num_folds=4, seed=seed).test == split.test
    assert split_cases(cases, num_folds=4, seed=seed + 1).test != split.test


CASES = [{"case_id": f"c{n}", "class": "benign", "group": f"g{n // 2}", "lesion_area_fraction": 0.1} for n in range(12)]
TABLE_PARTS = ["train"] * 6 + ["validation"] * 2 + ["test"] * 2 + ["excluded"] * 2
FOLDS = [1, 1, 1, 1, 2, 2, 2, 2, 3, 3, -1, -1]


def table(path, column, values, more=()):
    path.write_text("\n".join([f"case_id,{column}", *(f"c{n},{value}" for n, value in enumerate(values)), *more]))
    return path


def ids(split):
    return {part: [int(case["case_id"][1:]) for case in getattr(split, part)] for part in dict.fromkeys(TABLE_PARTS)}


def test_parts(tmp_path):
    split = split_cases(CASES, split_csv=table(tmp_path / "mine.csv", "part", TABLE_PARTS, ["other,test"]))
    assert ids(split) == {"train": [*range(6)], "validation": [6, 7], "test": [8, 9], "excluded": [10, 11]}
    assert split.rule == "the parts in mine.csv, lesion images only"


@pytest.mark.parametrize(("fold", "test", "validation"), [(0, [0, 1, 2, 3], [4, 5, 6, 7]), (2, [8, 9], [0, 1, 2, 3])])
def test_folds_go_by_their_order(fold, test, validation, tmp_path):
    split = split_cases(CASES, fold, split_csv=table(tmp_path / "mine.csv", "fold", FOLDS))
    assert (ids(split)["test"], ids(split)["validation"]) == (test, validation)
    assert ids(split)["excluded"] == [10, 11]
    assert f"test fold {fold + 1}, validation fold" in split.rule


def test_normal_images_are_left_out_where_lesions_alone_are_wanted(tmp_path):
    cases = [*CASES[:9], {**CASES[9], "class": "normal"}, {**CASES[10], "class": "", "lesion_area_fraction": 0.0}]
    path = table(tmp_path / "mine.csv", "part", [*TABLE_PARTS[:10], "test"])
    assert ids(split_cases(cases, split_csv=path))["test"] == [8]
    assert ids(split_cases(cases, lesions_only=False, split_csv=path))["test"] == [8, 9, 10]


@pytest.mark.parametrize(
    ("column", "values", "more", "message"),
    [
        ("part", ["test", *TABLE_PARTS[1:]], [], "group g0 leaks: c0 is in part test, c1 in train"),
        ("fold", [2, *FOLDS[1:]], [], "group g0 leaks: c0 is in fold 2, c1 in 1"),
        ("part", TABLE_PARTS[:-1], [], "c11: no row"),
        ("part", [*TABLE_PARTS[:-1], "tset"], [], "c11: part 'tset', expected train, validation, test, excluded"),
        ("fold", [*FOLDS[:-1], "two"], [], "c11: fold 'two', expected a whole number"),
        ("part", TABLE_PARTS, ["c3,test"], "c3: part train in one row, test in another"),
    ],
)
def test_faults_are_named(column, values, more, message, tmp_path):
    with pytest.raises(DataError, match=rf"1 problem.*\n.*mine\.csv: {message}\n"):
        split_cases(CASES, split_csv=table(tmp_path / "mine.csv", column, values, more))


@pytest.mark.parametrize(
    ("text", "fold", "message"),
    [
        ("case_id,set\nc0,test\n", 0, r"mine\.csv must have the columns case_id and part or fold"),
        ("", 0, r"mine\.csv"),
        (
            "case_id,part\n" + "\n".join(f"c{n},{part}" for n, part in enumerate(TABLE_PARTS)),
            1,
            "fold must be 0, got 1",
        ),
        ("case_id,fold\n" + "\n".join(f"c{n},{n // 6}" for n in range(12)), 0, r"at least 3 folds .* \[0, 1\]"),
        ("case_id,fold\n" + "\n".join(f"c{n},{n // 4}" for n in range(12)), 3, r"fold 3, .* \[0, 1, 2\]"),
    ],
)
def test_tables_that_are_none(text, fold, message, tmp_path):
    (tmp_path / "mine.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        split_cases(CASES, fold, split_csv=tmp_path / "mine.csv")
