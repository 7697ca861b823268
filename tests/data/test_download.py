"""Downloads from a server on this machine."""

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

buffer = io.BytesIO()
with zipfile.ZipFile(buffer, "w") as archive:
    archive.writestr("SET/benign/a.png", bytes(range(256)) * 400)
ARCHIVE = buffer.getvalue()
MD5 = f"md5:{hashlib.md5(ARCHIVE).hexdigest()}"


@pytest.fixture
def server():
    """A server of `files`, which breaks off after `sent` bytes, knows ranges if asked to, and notes what was asked."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            content, start = web.files.get(self.path), 0
            web.asked.append((self.path, self.headers.get("Range")))
            if content is None:
                return self.send_error(404)
            if web.ranges and "Range" in self.headers:
                start = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
                if start >= len(content):
                    return self.send_error(416)
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            self.wfile.write(content[start:][: web.sent])

        def log_message(self, *words):
            pass

    web = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    web.files, web.sent, web.ranges, web.asked = {"/set.zip": ARCHIVE}, None, True, []
    web.address = f"http://127.0.0.1:{web.server_port}/set.zip"
    threading.Thread(target=web.serve_forever, daemon=True).start()
    yield web
    web.shutdown()
    web.server_close()


def unpacked(out):
    return (out / "SET" / "benign" / "a.png").read_bytes() == bytes(range(256)) * 400


@pytest.mark.parametrize("checksum", [MD5, None], ids=["md5", "none"])
def test_unpacked_and_not_fetched_again(checksum, server, tmp_path):
    for _ in range(2):
        assert download("busi", tmp_path / "out", [(server.address, checksum)]) == tmp_path / "out"
        assert unpacked(tmp_path / "out")
    assert server.asked == [("/set.zip", None)]
    (tmp_path / "set.zip.part").write_bytes(ARCHIVE)  # killed after the last byte
    download("busi", tmp_path, [(server.address, checksum)])
    assert unpacked(tmp_path)


def test_no_file_or_no_server(server, tmp_path):
    with pytest.raises(OSError, match=r"none\.zip failed \(404"):
        download("busi", tmp_path, [(server.address.replace("set", "none"), None)])
    server.shutdown()
    server.server_close()
    with pytest.raises(OSError, match=rf"download of {server.address} failed"):
        download("busi", tmp_path, [(server.address, None)])


@pytest.mark.parametrize("ranges", [True, False])
def test_broken_download_goes_on(ranges, server, tmp_path):
    server.sent, server.ranges = 80_000, ranges
    with pytest.raises(OSError, match=rf"download of {server.address} failed .*run it again"):
        download("busi", tmp_path, [(server.address, MD5)])
    kept = (tmp_path / "set.zip.part").stat().st_size
    assert kept > 0 and not (tmp_path / "set.zip").exists()
    server.sent = None
    download("busi", tmp_path, [(server.address, MD5)])
    assert unpacked(tmp_path) and server.asked[1] == ("/set.zip", f"bytes={kept}-")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["SET", "set.zip"]


def test_wrong_checksum(server, tmp_path):
    wrong = "md5:" + "0" * 32
    with pytest.raises(ValueError, match=rf"{server.address} does not have the checksum {wrong}"):
        download("busi", tmp_path, [(server.address, wrong)])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "content", [b"<html>log in first</html>", ARCHIVE[:-2000], ARCHIVE.replace(b"\1\2\3", b"\1\2\2")]
)
def test_no_whole_archive(content, server, tmp_path):
    server.files["/set.zip"] = content
    with pytest.raises(ValueError, match=rf"{server.address} is not a whole zip archive and was deleted"):
        download("busi", tmp_path, [(server.address, None)])
    assert not (tmp_path / "set.zip").exists()


def test_full_disk(server, tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (70_000, limits[1]))  # as a full disk, to a process
    try:
        with pytest.raises(OSError, match=rf"no space left in {tmp_path}"):
            download("busi", tmp_path, [(server.address, MD5)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    download("busi", tmp_path, [(server.address, MD5)])
    assert unpacked(tmp_path) and server.asked[1][1] is not None  # it went on


@pytest.mark.parametrize("name", ["busi", "bus_bra", "breast"])
def test_command_prints_the_terms(name, server, tmp_path, monkeypatch, capsys):
    files = tuple((server.address, None) for _ in SOURCES[name].files)
    monkeypatch.setitem(module.SOURCES, name, SOURCES[name]._replace(files=files))
    assert main(["download", name, "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "Licence: " in printed and "Cite: " in printed and f"unpacked in {tmp_path}" in printed
    assert unpacked(tmp_path)


@pytest.mark.parametrize(("name", "place"), [("udiat", "helward.mmu.ac.uk"), ("bus_uclm", "data.mendeley.com")])
def test_command_says_where_to_ask(name, place, tmp_path, capsys):
    assert main(["download", name, "--out", str(tmp_path / "out")]) == 1
    assert place in capsys.readouterr().err and not (tmp_path / "out").exists()
