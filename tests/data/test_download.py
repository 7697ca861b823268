import hashlib
import io
import resource
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from hybrid_attention.cli import main
from hybrid_attention.data import download as module
from hybrid_attention.data.download import SOURCES, download

PIXELS = bytes(range(256)) * 400
buffer = io.BytesIO()
with zipfile.ZipFile(buffer, "w") as archive:
    archive.writestr("SET/benign/a.png", PIXELS)
ARCHIVE = buffer.getvalue()
MD5 = f"md5:{hashlib.md5(ARCHIVE).hexdigest()}"


@pytest.fixture
def server():
    """A server of `content`, which breaks off after `sent` bytes, knows ranges if asked to, and notes them."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            start, asked = 0, self.headers.get("Range")
            web.asked.append(asked)
            if web.ranges and asked:
                start = int(asked.removeprefix("bytes=").removesuffix("-"))
                if start >= len(web.content):
                    return self.send_error(416)
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(web.content) - start))
            self.end_headers()
            self.wfile.write(web.content[start:][: web.sent])

        def log_message(self, *words):
            pass

    web = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    web.content, web.sent, web.ranges, web.asked = ARCHIVE, None, True, []
    web.address = f"http://127.0.0.1:{web.server_port}/set.zip"
    threading.Thread(target=web.serve_forever, daemon=True).start()
    yield web
    web.shutdown()
    web.server_close()


@pytest.fixture
def fetch(server, tmp_path):
    def download_to(checksum=None):
        assert download("busi", tmp_path / "out", [(server.address, checksum)]) == tmp_path / "out"
        return (tmp_path / "out" / "SET" / "benign" / "a.png").read_bytes() == PIXELS

    return download_to


def test_unpacked_and_not_fetched_again(server, fetch, tmp_path):
    assert fetch(MD5) and fetch() and server.asked == [None]
    (tmp_path / "out" / "set.zip").rename(tmp_path / "out" / "set.zip.part")  # killed after the last byte
    assert fetch() and server.asked == [None, f"bytes={len(ARCHIVE)}-"]


@pytest.mark.parametrize("ranges", [True, False])
def test_broken_download_goes_on(ranges, server, fetch, tmp_path):
    server.sent, server.ranges = 80_000, ranges
    with pytest.raises(OSError, match=rf"download of {server.address} failed .*run it again"):
        fetch(MD5)
    kept = (tmp_path / "out" / "set.zip.part").stat().st_size
    assert kept > 0 and not (tmp_path / "out" / "set.zip").exists()
    server.sent = None
    assert fetch(MD5) and server.asked[1] == f"bytes={kept}-"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["SET", "set.zip"]


def test_what_can_not_be_fetched(server, fetch, tmp_path):
    wrong = "md5:" + "0" * 32
    with pytest.raises(ValueError, match=rf"{server.address} does not have the checksum {wrong}"):
        fetch(wrong)
    for content in (b"<html>log in first</html>", ARCHIVE[:-2000], ARCHIVE.replace(b"\1\2\3", b"\1\2\2")):
        server.content = content
        with pytest.raises(ValueError, match=rf"{server.address} is not a whole zip archive and was deleted"):
            fetch()
    assert not list(tmp_path.rglob("set.zip"))


def test_full_disk(server, fetch):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (70_000, limits[1]))  # as a full disk, to a process
    try:
        with pytest.raises(OSError, match="no space left"):
            fetch(MD5)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert fetch(MD5) and server.asked[1] is not None  # it went on


@pytest.mark.parametrize("name", SOURCES)
def test_command_prints_the_terms_or_says_where_to_ask(name, server, tmp_path, monkeypatch, capsys):
    files = tuple((server.address, None) for _ in SOURCES[name].files)
    monkeypatch.setitem(module.SOURCES, name, SOURCES[name]._replace(files=files))
    assert main(["download", name, "--out", str(tmp_path / "out")]) == (0 if files else 1)
    out, errors = capsys.readouterr()
    if files:
        assert "Licence: " in out and "Cite: " in out and f"unpacked in {tmp_path / 'out'}" in out
    else:
        assert {"udiat": "helward.mmu.ac.uk", "bus_uclm": "data.mendeley.com"}[name] in errors
        assert not (tmp_path / "out").exists()
