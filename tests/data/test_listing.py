import os
import sys

import pytest
from hybrid_attention.data.listing import files_below, is_clutter, name_fault, same_name


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


@pytest.mark.parametrize("name", ["a.png", "recycle", "#7", "@home", "study#7"])
def test_what_is_no_clutter(name):
    assert not is_clutter(name)


def test_the_folder_itself_may_have_any_name(tmp_path):
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache" / "a.png").touch()
    assert names(tmp_path / ".cache") == ["a.png"]


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


def test_no_folder_no_files(tmp_path):
    assert files_below(tmp_path / "none") == []


def test_names_that_look_alike_are_equal():
    assert same_name("le\u0301sion") == same_name("l\u00e9sion") == "l\u00e9sion"


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_names_that_are_not_utf_8():
    path = os.fsdecode(b"folder/l\xe9sion.png")
    assert name_fault(path) == r"folder/l\xe9sion.png: the name is not valid UTF-8; rename it"
    assert name_fault("folder/l\u00e9sion.png") is None
