import pytest
from hybrid_attention.data.tables import read_groups, read_table


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1", "cp1252"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_what_excel_saves(tmp_path, separator, encoding, end):
    rows = [["image_id", "duplicate_group"], ['"benign/Läsion, links.png"', "1"], ["b.png", ""], ["loop.dcm#2", ""]]
    rows.append(["", ""])
    path = tmp_path / "groups.csv"
    path.write_bytes(end.join(separator.join(row) for row in rows).encode(encoding))
    named = [[cell.strip('"') for cell in row] for row in rows]
    assert read_table(path) == [dict(zip(named[0], row, strict=True)) for row in named[1:-1]]
    groups = {"benign/Läsion, links.png": "1", "b.png": "b.png", "loop.dcm#2": "loop.dcm"}  # frames stay together
    assert read_groups(path) == groups


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a;c\n1;2\n", "lacks the columns b; it has a, c"),
        (b"a, b,b\n1,2,3\n", "has b several times"),
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
    path.write_text("image_id,duplicate_group\na.png,1\nb.png,1\na.png,1\nb.png, 2\nc.png,3\n")
    with pytest.raises(ValueError, match=r"table\.csv .* has b\.png \(1 and 2\)$"):
        read_groups(path)
