import errno
import json
import stat

import numpy as np
import pytest
from hybrid_attention.data import busi_datalist
from hybrid_attention.data.datasets.common import read_groups
from hybrid_attention.data.files import (
    atomic_path,
    files_below,
    is_clutter,
    prepare_output_folder,
    read_table,
    write_csv,
    write_json,
)


def test_file_appears_whole(tmp_path):
    target = tmp_path / "deep" / "a.txt"
    with atomic_path(target) as temporary:
        temporary.write_text("new")
        assert not target.exists()
    assert target.read_text() == "new"
    assert list(target.parent.iterdir()) == [target]


def test_failure_keeps_the_old_file(tmp_path):
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(RuntimeError, match="boom"), atomic_path(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError("boom")
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_full_disk_is_named(tmp_path):
    target = tmp_path / "a.txt"
    with pytest.raises(OSError, match=r"no space left while writing .*a\.txt.*--output_dir"), atomic_path(target):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert list(tmp_path.iterdir()) == []


def test_mode_is_that_of_plain_files(tmp_path):
    plain = tmp_path / "plain"
    plain.write_text("")
    with atomic_path(tmp_path / "atomic") as temporary:
        temporary.write_text("")
    assert stat.S_IMODE((tmp_path / "atomic").stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)


def test_output_folder_below_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"can't write .*file.*--output_dir"):
        prepare_output_folder(tmp_path / "file" / "out")
    assert list(prepare_output_folder(tmp_path / "out").iterdir()) == []


def test_csv_and_json(tmp_path):
    write_csv(tmp_path / "a.csv", [{"x": 0.1, "y": "ü, b"}], ["x", "y"])
    assert (tmp_path / "a.csv").read_text() == 'x,y\n0.1,"ü, b"\n'
    write_json(tmp_path / "a.json", {"b": 1, "a": None})
    assert (tmp_path / "a.json").read_text() == '{\n  "b": 1,\n  "a": null\n}\n'


def test_json_of_undefined_numbers_is_strict(tmp_path):
    write_json(tmp_path / "a.json", {"a": [float("nan"), (np.float64("nan"), 1.5)], "b": {"c": float("nan")}})
    strict = json.loads((tmp_path / "a.json").read_text(), parse_constant=pytest.fail)
    assert strict == {"a": [None, [None, 1.5]], "b": {"c": None}}
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"a": float("inf")})
    assert json.loads((tmp_path / "a.json").read_text()) == strict


def names(root):
    return [path.relative_to(root).as_posix() for path in files_below(root)]


@pytest.mark.parametrize(
    "name",
    [".ipynb_checkpoints", ".Trash-1000", "@eaDir", "#recycle", "$RECYCLE.BIN", "Thumbs.db", "._a.png", "__MACOSX"],
)
def test_clutter(tmp_path, name):
    assert is_clutter(name)
    (tmp_path / name).mkdir()
    (tmp_path / name / "a.png").touch()
    (tmp_path / "b.png").touch()
    assert names(tmp_path) == ["b.png"]
    assert names(tmp_path / name) == ["a.png"]  # the folder itself may have any name
    assert names(tmp_path / "none") == []
    assert not any(map(is_clutter, ("a.png", "recycle", "#7", "@home", "study#7")))


def test_linked_folders_are_followed_once_and_loops_end(tmp_path):
    root, other = tmp_path / "root", tmp_path / "other"
    for folder in (root / "z", other / "deep"):
        folder.mkdir(parents=True)
    for file in (root / "z" / "a.png", other / "b.png", other / "deep" / "c.png", tmp_path / "outside.png"):
        file.touch()
    (root / "linked").symlink_to(other)
    (root / "again").symlink_to(root / "z")  # by a name that sorts before the folder's own
    (root / "z" / "up").symlink_to(root)
    (root / "z" / "above").symlink_to(tmp_path)
    (other / "deep" / "loop").symlink_to(other)
    (root / "gone.png").symlink_to(tmp_path / "nowhere.png")
    assert names(root) == ["gone.png", "linked/b.png", "linked/deep/c.png", "z/a.png"]


ROWS = [{"image_id": "benign/Läsion, links.png", "duplicate_group": "1"}, {"image_id": "b.png", "duplicate_group": ""}]
GROUPS = {"benign/Läsion, links.png": "1", "b.png": "b.png"}


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1", "cp1252"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_what_excel_saves(tmp_path, separator, encoding, end):
    rows = [["image_id", "duplicate_group"], ['"benign/Läsion, links.png"', "1"], ["b.png", ""], ["", ""]]
    path = tmp_path / "groups.csv"
    path.write_bytes(end.join(separator.join(row) for row in rows).encode(encoding))
    assert [row for _, row in read_table(path)] == ROWS
    assert read_groups(path) == GROUPS


def test_places_are_lines_of_the_file(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text('a,b\n\n"x\ny",1\nz,2\n')
    assert read_table(path, ["b"]) == [
        (f"{path}, line 4", {"a": "x\ny", "b": "1"}),
        (f"{path}, line 5", {"a": "z", "b": "2"}),
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "lacks the columns b; it has none"),
        (b"a;c\n1;2\n", "lacks the columns b; it has a, c"),
        (b"a,b\n1\n", "line 2: 1 cells, but the header has 2"),
        (b"a,b\n1,2\n1,2,3\n", "line 3: 3 cells, but the header has 2"),
        (b"PK\x03\x04\x14\0\x06\0\x08\0", "is not a CSV file"),
        (b"a,b\n\x81,2\n", "is not a CSV file"),
    ],
)
def test_what_is_no_such_table(tmp_path, content, message):
    path = tmp_path / "table.csv"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_table(path, ["b"])


def test_an_image_in_two_groups_is_named(phantoms, tmp_path):
    path = tmp_path / "groups.csv"
    path.write_text("image_id,duplicate_group\na.png,1\nb.png,1\na.png,1\nb.png, 2\nc.png,3\n")
    with pytest.raises(ValueError, match=r"groups\.csv .* has b\.png \(1 and 2\)$"):
        busi_datalist(phantoms, groups_csv=path)
