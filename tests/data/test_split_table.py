import pytest
from hybrid_attention.data import DataError, datalist, split_cases

CASES = [{"case_id": f"c{n}", "class": "benign", "group": f"g{n // 2}", "lesion_area_fraction": 0.1} for n in range(12)]
PARTS = ["train"] * 6 + ["validation"] * 2 + ["test"] * 2 + ["excluded"] * 2
FOLDS = [1, 1, 1, 1, 2, 2, 2, 2, 3, 3, -1, -1]


def table(path, column, values, more=()):
    path.write_text("\n".join([f"case_id,{column}", *(f"c{n},{value}" for n, value in enumerate(values)), *more]))
    return path


def ids(split):
    return {part: [int(case["case_id"][1:]) for case in getattr(split, part)] for part in dict.fromkeys(PARTS)}


def test_parts(tmp_path):
    split = split_cases(CASES, split_csv=table(tmp_path / "mine.csv", "part", PARTS, ["other,test"]))
    assert ids(split) == {"train": [*range(6)], "validation": [6, 7], "test": [8, 9], "excluded": [10, 11]}
    assert split.rule == "the parts in mine.csv, lesion images only"


@pytest.mark.parametrize(("fold", "test", "validation"), [(0, [0, 1, 2, 3], [4, 5, 6, 7]), (2, [8, 9], [0, 1, 2, 3])])
def test_folds_go_by_their_order(fold, test, validation, tmp_path):
    split = split_cases(CASES, fold, split_csv=table(tmp_path / "mine.csv", "fold", FOLDS))
    assert (ids(split)["test"], ids(split)["validation"]) == (test, validation)
    assert ids(split)["excluded"] == [10, 11]
    assert f"test fold {fold + 1}, validation fold" in split.rule


def test_more_folds_than_five(tmp_path):
    cases = [{**case, "group": case["case_id"]} for case in CASES]
    split = split_cases(cases, 7, split_csv=table(tmp_path / "mine.csv", "fold", range(12)))
    assert (ids(split)["test"], ids(split)["validation"], len(split.train)) == ([7], [8], 10)


def test_tables_of_excel(tmp_path):
    text = "\ufeffcase_id;part\r\n" + "\r\n".join(f"c{n};{part}" for n, part in enumerate(PARTS))
    (tmp_path / "mine.csv").write_bytes(text.encode("utf-8"))
    assert ids(split_cases(CASES, split_csv=tmp_path / "mine.csv"))["test"] == [8, 9]


def test_normal_images_are_left_out_where_lesions_alone_are_wanted(tmp_path):
    cases = [*CASES[:9], {**CASES[9], "class": "normal"}, {**CASES[10], "class": "", "lesion_area_fraction": 0.0}]
    path = table(tmp_path / "mine.csv", "part", [*PARTS[:10], "test"])
    assert ids(split_cases(cases, split_csv=path))["test"] == [8]
    assert ids(split_cases(cases, lesions_only=False, split_csv=path))["test"] == [8, 9, 10]


@pytest.mark.parametrize(
    ("column", "values", "more", "message"),
    [
        ("part", ["test", *PARTS[1:]], [], "group g0 leaks: c0 is in part test, c1 in train"),
        ("fold", [2, *FOLDS[1:]], [], "group g0 leaks: c0 is in fold 2, c1 in 1"),
        ("part", PARTS[:-1], [], "c11: no row"),
        ("part", [*PARTS[:-1], "tset"], [], "c11: part 'tset', expected train, validation, test, excluded"),
        ("fold", [*FOLDS[:-1], "two"], [], "c11: fold 'two', expected a whole number"),
        ("part", PARTS, ["c3,test"], "c3: part train in one row, test in another"),
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
        ("case_id,part\n" + "\n".join(f"c{n},{part}" for n, part in enumerate(PARTS)), 1, "fold must be 0, got 1"),
        ("case_id,fold\n" + "\n".join(f"c{n},{n // 6}" for n in range(12)), 0, r"at least 3 folds .* \[0, 1\]"),
        ("case_id,fold\n" + "\n".join(f"c{n},{n // 4}" for n in range(12)), 3, r"fold 3, .* \[0, 1, 2\]"),
    ],
)
def test_tables_that_are_none(text, fold, message, tmp_path):
    (tmp_path / "mine.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        split_cases(CASES, fold, split_csv=tmp_path / "mine.csv")


def test_missing_table(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.csv does not exist"):
        split_cases(CASES, split_csv=tmp_path / "none.csv")


@pytest.mark.busi
def test_copies_in_busi_are_leaks(busi, tmp_path):
    cases = datalist(busi)
    rows = [f"{case['case_id']},{('train', 'validation', 'test')[n % 3]}" for n, case in enumerate(cases)]
    (tmp_path / "random.csv").write_text("\n".join(["case_id,part", *rows]))
    with pytest.raises(DataError, match=r"group .* leaks: benign/"):
        split_cases(cases, split_csv=tmp_path / "random.csv")
