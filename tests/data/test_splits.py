import random

import numpy as np
import pytest
from hybrid_attention.data import DataError, busi_facts, split_cases
from hybrid_attention.data.splits import PARTS, RULES, is_busi

FACTS = busi_facts()


def case(name, **more):
    return {"case_id": name, "class": "benign", "group": name, "lesion_area_fraction": 0.1, **more}


# cases as `busi_datalist` gives them for BUSI; another data set; one for tables
BUSI = [
    case(name, **{"class": row["class"], "lesion_area_fraction": float(row["lesion_area_fraction"])})
    for name, row in FACTS.items()
]
DRAWN = random.Random(0)
OWN = [case(f"{n}", **{"class": DRAWN.choice(["benign", "malignant"]), "group": str(n % 20)}) for n in range(60)]
CASES = [case(f"c{n}", group=f"g{n // 2}") for n in range(12)]


def parts(split, key="case_id"):
    return [[one[key] for one in getattr(split, part)] for part in PARTS]


def leak(split):
    """The share of test cases with a group that trains; of a split without leaks validation has none either."""
    train, validation, test, _ = parts(split, "group")
    assert "both sides" in split.rule or not {*validation} & {*train, *test}
    return np.mean([group in train for group in test])


@pytest.mark.parametrize("rule", RULES[:2])
@pytest.mark.parametrize("lesions_only", [True, False])
def test_folds_of_busi(lesions_only, rule):
    tested, names = [], ["benign", "malignant"] if lesions_only else ["benign", "malignant", "normal"]
    crossing = {name for name, row in FACTS.items() if row["group_crosses_classes"] == "1"}
    assert len(crossing) == 21
    for fold in range(5):
        split, free = (split_cases(BUSI, fold, lesions_only=lesions_only, split_rule=one) for one in (rule, RULES[0]))
        train, validation, test, excluded = parts(split)
        assert crossing <= {*excluded} and len(train + validation + test + excluded) == 780
        assert [sorted(part) for part in parts(split, "class")] == [sorted(part) for part in parts(free, "class")]
        assert sorted({*parts(split, "class")[0]}) == names
        assert all(one["group"] == FACTS[one["case_id"]]["duplicate_group"] for one in split.test)
        if rule == "leak_free":
            assert leak(split) == 0
            assert {int(FACTS[name]["fold"]) for name in test} == {fold}
            assert {int(FACTS[name]["fold"]) for name in validation} == {(fold + 1) % 5}
        else:
            assert 0.2 < leak(split) < 0.6
            assert f"near-duplicates on both sides, test fold {fold} of 5" in split.rule
            assert split_cases(BUSI, fold, lesions_only=lesions_only, split_rule=rule, seed=1).test != split.test
        tested += test
        if fold == 0 and lesions_only:
            assert list(map(len, parts(split))) == [377, 126, 125, 152]
    assert len(tested) == len({*tested}) == (628 if lesions_only else 780 - 21)


def test_paper_sizes():
    # 647 of 780 images have a lesion
    for sizes, lesions, expected in (((624, 78, 78), False, [624, 78, 78]), ((560, 140, 80), True, [465, 116, 66])):
        split = split_cases(BUSI, lesions_only=lesions, split_rule="paper", paper_sizes=sizes)
        assert list(map(len, parts(split)))[:3] == expected
        malignant = parts(split, "class")[2].count("malignant") / expected[2]
        assert malignant == pytest.approx(210 / (647 if lesions else 780), abs=0.01)
        assert leak(split) > 0.2 and "paper" in split.rule


SIZES = (40, 10, 10)
STRANGER = case("benign/new.png")
OTHER_MASKS = [{**one, "lesion_area_fraction": one["lesion_area_fraction"] * 0.75} for one in BUSI]


@pytest.mark.parametrize(
    ("cases", "arguments", "message"),
    [
        (OWN, {"split_rule": "paper", "paper_sizes": SIZES}, "paper is for BUSI"),
        (BUSI, {"split_rule": "paper", "paper_sizes": SIZES, "fold": 1}, "one split, fold 0, got fold 1"),
        (BUSI, {"split_rule": "papers"}, "leak_free, random, paper, got 'papers'"),
        (BUSI, {"split_csv": "mine.csv", "split_rule": "random"}, r"random and split_csv mine\.csv exclude"),
        (BUSI, {"num_folds": 10}, "num_folds must be 5 for BUSI leak-free folds, got 10"),
        (OWN, {"fold": 5}, "fold must be from 0 to 4, got 5"),
        (OWN, {"num_folds": 2}, "at least 3"),
        (OWN, {"num_folds": 21}, "20 groups of images can't fill 21 folds"),
        ([{**one, "class": "normal"} for one in OWN], {}, r"too few for train \(0\), validation \(0\), test \(0\)"),
        (OTHER_MASKS, {}, r"have BUSI's names, but only \d+ of 647 lesions.*busi_cases\.csv"),
        ([*BUSI, STRANGER], {}, r"780 of 781 images are BUSI's, 1 are not .*benign/new\.png"),
    ],
)
def test_what_can_not_be_split(cases, arguments, message):
    with pytest.raises(ValueError, match=message):
        split_cases(cases, **arguments)


def test_busi_needs_more_than_names():
    for cases in (OTHER_MASKS, [*BUSI, STRANGER]):  # which the groups of the user split
        assert leak(split_cases([{**one, "group": f"g{n // 3}"} for n, one in enumerate(cases)])) == 0
    assert is_busi(BUSI) and is_busi(BUSI[:10])
    for other in ({"synthetic": True}, {"group": "mine"}):
        assert not is_busi([{**one, **other} for one in BUSI])
    assert not is_busi([{**one, "case_id": f"own/{n}", "group": f"own/{n}"} for n, one in enumerate(BUSI)])
    corrected = [{**one, "lesion_area_fraction": 0.9} if n % 10 == 0 else one for n, one in enumerate(BUSI)]
    assert is_busi(corrected)
    normals = [one for one in BUSI if one["class"] == "normal"]  # empty masks prove nothing
    assert not is_busi([*normals, *(case(f"benign/x{n}.png") for n in range(20))])


def test_own_data():
    benign = sum(one["class"] == "benign" for one in OWN) / 60
    for seed in range(3):
        split = split_cases(OWN, num_folds=4, seed=seed)
        assert leak(split) == 0 and sum(map(len, parts(split)[:3])) == 60
        assert parts(split, "class")[2].count("benign") / len(split.test) == pytest.approx(benign, abs=0.2)
        assert split_cases(OWN, num_folds=4, seed=seed).test == split.test
        assert split_cases(OWN, num_folds=4, seed=seed + 1).test != split.test


NAMES = [f"c{n}" for n in range(12)]
TABLE_PARTS = ["train"] * 6 + ["validation"] * 2 + ["test"] * 2 + ["excluded"] * 2
FOLDS = [1, 1, 1, 1, 2, 2, 2, 2, 3, 3, -1, -1]


def table(folder, column, values, *more):
    rows = [f"{name},{value}" for name, value in zip(NAMES, values, strict=False)]
    (folder / "mine.csv").write_text("\n".join([f"case_id,{column}", *rows, *more]))
    return folder / "mine.csv"


def test_tables(tmp_path):
    split = split_cases(CASES, split_csv=table(tmp_path, "part", TABLE_PARTS, "other,test"))
    assert parts(split) == [NAMES[:6], NAMES[6:8], NAMES[8:10], NAMES[10:]]
    assert split.rule == "the parts in mine.csv, lesion images only"
    for fold, test, validation in ((0, NAMES[:4], NAMES[4:8]), (2, NAMES[8:10], NAMES[:4])):
        split = split_cases(CASES, fold, split_csv=table(tmp_path, "fold", FOLDS))
        assert parts(split)[1:] == [validation, test, NAMES[10:]]
        assert f"test fold {fold + 1}, validation fold" in split.rule
    normal = [{**CASES[9], "class": "normal"}, {**CASES[10], "class": "", "lesion_area_fraction": 0.0}]
    path = table(tmp_path, "part", [*TABLE_PARTS[:10], "test"])
    assert parts(split_cases([*CASES[:9], *normal], split_csv=path))[2] == NAMES[8:9]
    assert parts(split_cases([*CASES[:9], *normal], lesions_only=False, split_csv=path))[2] == NAMES[8:11]


@pytest.mark.parametrize(
    ("column", "values", "fold", "message"),
    [
        ("part", ["test", *TABLE_PARTS[1:]], 0, "group g0 leaks: c0 is in part test, c1 in train\n"),
        ("part", TABLE_PARTS[:-1], 0, "c11: no row\n"),
        ("part", [*TABLE_PARTS[:-1], "tset"], 0, "c11: part 'tset', expected train, validation, test, excluded\n"),
        ("fold", [*FOLDS[:-1], "two"], 0, "c11: fold 'two', expected a whole number\n"),
        ("part", [*TABLE_PARTS[:-1], "test\nc11,train"], 0, "c11: part test in one row, train in another\n"),
        ("set", TABLE_PARTS, 0, r"must have the columns case_id and part or fold"),
        ("part", TABLE_PARTS, 1, "fold must be 0, got 1"),
        ("fold", [n // 6 for n in range(12)], 0, r"at least 3 folds .* \[0, 1\]"),
        ("fold", [n // 4 for n in range(12)], 3, r"fold 3, .* \[0, 1, 2\]"),
    ],
)
def test_faulty_tables(column, values, fold, message, tmp_path):
    with pytest.raises(ValueError, match=rf"mine\.csv.*{message}") as error:
        split_cases(CASES, fold, split_csv=table(tmp_path, column, values))
    assert not isinstance(error.value, DataError) or "1 problem(s)" in str(error.value)
    with pytest.raises(FileNotFoundError, match=r"none\.csv does not exist"):
        split_cases(CASES, split_csv="none.csv")
