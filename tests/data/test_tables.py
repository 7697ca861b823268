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
