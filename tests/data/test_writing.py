import errno
import json
import stat

import numpy as np
import pytest
from hybrid_attention.data.writing import atomic_path, prepare_output_folder, write_csv, write_json


def test_file_appears_whole_with_the_mode_of_plain_files(tmp_path):
    target, plain = tmp_path / "deep" / "a.txt", tmp_path / "plain"
    plain.write_text("")
    with atomic_path(target) as temporary:
        temporary.write_text("new")
        assert not target.exists()
    assert target.read_text() == "new"
    assert list(target.parent.iterdir()) == [target]
    assert stat.S_IMODE(target.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)


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
