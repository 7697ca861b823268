import sys

import pytest
from hybrid_attention.engines.provenance import provenance, without_folder


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("/far/away/w.pth", "w.pth"),
        ("/far/away/", "away"),
        ("imagenet", "imagenet"),
        (".", "."),
        (0.5, 0.5),
        (None, None),
        ("$0.1/2", "$0.1/2"),
        ("$@output_dir + '/history.csv'", "$@output_dir + '/history.csv'"),
        ("@net#a/b", "@net#a/b"),
        ("%shared/train.yaml::loss", "%shared/train.yaml::loss"),
        ({"resnet18": "/a/r.pth", "rate": "$1/3"}, {"resnet18": "r.pth", "rate": "$1/3"}),
        (["/a/b", 1, ["/c/d"]], ["b", 1, ["d"]]),
        (("/a/b", "x"), ["b", "x"]),
    ],
    ids=str,
)
def test_folders_are_cut_from_paths_alone(value, expected):
    assert without_folder(value) == without_folder(value, relative=False) == expected


def test_relative_paths():
    given = {"file": "some/dir/w.pth", "files": ["./a", "b/c"]}
    assert without_folder(given) == {"file": "w.pth", "files": ["a", "c"]}
    assert without_folder(given, relative=False) == given


def test_overrides_are_recorded_as_they_were_given(tmp_path, monkeypatch):
    config = tmp_path / "tiny" / "configs" / "train.yaml"
    config.parent.mkdir(parents=True)
    config.write_text("rate: 1\n")
    words = ["run", "--config_file", str(config), "--rate", "$0.1/2", "--weights", f"['{tmp_path}/w.pth', 'imagenet']"]
    monkeypatch.setattr(sys, "argv", [*words, "--output_dir", str(tmp_path / "out")])
    record = provenance()
    assert record["overrides"] == {"rate": "$0.1/2", "weights": ["w.pth", "imagenet"], "output_dir": "out"}
    assert list(record["config_files"]) == ["tiny/train.yaml"]
