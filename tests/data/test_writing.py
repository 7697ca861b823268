import errno
import json
import stat

import numpy as np
import pytest
from hybrid_attention.data.writing import atomic_path, prepare_output_folder, write_csv, write_json


def test_file_appears_whole_or_keeps_its_content(tmp_path):
    target, plain = tmp_path / "deep" / "a.txt", tmp_path / "plain"
    plain.write_text("")
    with atomic_path(target) as temporary:
        temporary.write_text("old")
        assert not target.exists()
    assert stat.S_IMODE(target.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)
    with pytest.raises(RuntimeError, match="boom"), atomic_path(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError("boom")
    with pytest.raises(OSError, match=r"no space left while writing .*a\.txt.*--output_dir"), atomic_path(target):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert target.read_text() == "old" and list(target.parent.iterdir()) == [target]
    with pytest.raises(OSError, match=r"can't write .*plain.*--output_dir"):
        prepare_output_folder(plain / "out")
    assert list(prepare_output_folder(tmp_path / "out").iterdir()) == []


def test_csv_and_strict_json(tmp_path):
    write_csv(tmp_path / "a.csv", [{"x": 0.1, "y": "ü, b"}], ["x", "y"])
    assert (tmp_path / "a.csv").read_text() == 'x,y\n0.1,"ü, b"\n'
    write_json(tmp_path / "a.json", {"b": 1, "a": None})
    assert (tmp_path / "a.json").read_text() == '{\n  "b": 1,\n  "a": null\n}\n'
    write_json(tmp_path / "a.json", {"a": [float("nan"), (np.float64("nan"), 1.5)], "b": {"c": float("nan")}})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"a": float("inf")})
    strict = json.loads((tmp_path / "a.json").read_text(), parse_constant=pytest.fail)
    assert strict == {"a": [None, [None, 1.5]], "b": {"c": None}}
