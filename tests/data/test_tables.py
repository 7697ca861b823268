import pytest
from hybrid_attention.data.tables import read_groups, read_table

GROUPS = {"benign/Läsion, links.png": "1", "b.png": "", "loop.dcm#2": ""}
ROWS = [{"image_id": name, "duplicate_group": group} for name, group in GROUPS.items()]


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1", "cp1252"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_what_excel_saves(tmp_path, separator, encoding, end):
    rows = [["image_id", "duplicate_group"], ['"benign/Läsion, links.png"', "1"], ["b.png", ""], ["loop.dcm#2", ""]]
    rows.append(["", ""])
    path = tmp_path / "groups.csv"
    path.write_bytes(end.join(separator.join(row) for row in rows).encode(encoding))
    assert read_table(path) == ROWS
    assert read_groups(path) == {**GROUPS, "b.png": "b.png", "loop.dcm#2": "loop.dcm"}  # frames stay together


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "lacks the columns b; it has none"),
        (b"a;c\n1;2\n", "lacks the columns b; it has a, c"),
        (b"a, b,b\n1,2,3\n", "has b several times"),
        (b"a,b\n1\n", "line 2: 1 cells, but the header has 2"),
        (b'a,b\n\n"x\ny",1\n1,2,3\n', "line 5: 3 cells, but the header has 2"),
        (b"PK\x03\x04\x14\0\x06\0\x08\0", "is not a CSV file"),
        (b"a,b\n\x81,2\n", "is not a CSV file"),
    ],
)
def test_what_is_not_such_a_table(tmp_path, content, message):
    path = tmp_path / "table.csv"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_table(path, ["b"])


def test_an_image_in_two_groups_is_named(tmp_path):
    path = tmp_path / "groups.csv"
    path.write_text("image_id,duplicate_group\na.png,1\nb.png,1\na.png,1\nb.png, 2\nc.png,3\n")
    with pytest.raises(ValueError, match=r"groups\.csv .* has b\.png \(1 and 2\)$"):
        read_groups(path)
