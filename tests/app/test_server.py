import hashlib
import http.client
import socket

import pytest
from hybrid_attention.app.server import STATIC
from hybrid_attention.cli import main


def get(server, path, host=None):
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
    connection.request("GET", path, headers={} if host is None else {"Host": host})
    response = connection.getresponse()
    return response.status, response.headers, response.read()


def test_serves_the_page_and_the_model_with_safe_headers(server):
    status, headers, content = get(server, "/")
    assert status == 200 and b"<title>" in content
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "http" not in policy and "unsafe-inline" not in policy
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert headers["Cross-Origin-Embedder-Policy"] == "require-corp"
    assert get(server, "/ort.mjs")[1]["Content-Type"] == "text/javascript"
    assert len(get(server, "/model.onnx")[2]) > 1e6


@pytest.mark.parametrize("path", ["/../server.py", "/%2e%2e/server.py", "//etc/passwd", "/assets/", "/nothing"])
def test_serves_nothing_else(server, path):
    assert get(server, path)[0] == 404


def test_answers_on_the_loopback_address_alone(server):
    assert server.server_address[0] == "127.0.0.1"
    assert get(server, "/", host="attacker.example")[0] == 403
    assert get(server, "/", host=f"localhost:{server.server_port}")[0] == 200


def test_a_port_in_use(capsys):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert main(["app", "--no_browser", "--port", str(port)]) == 1
    assert f"port {port} is in use" in capsys.readouterr().err
    assert main(["app", "--no_browser", "--port", "70000"]) == 1
    assert "from 0 to 65535, got 70000" in capsys.readouterr().err


def test_takes_no_uploads(server):
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
    connection.putrequest("POST", "/")
    connection.putheader("Content-Length", str(10**9))
    connection.endheaders()
    assert connection.getresponse().status == 501


def test_the_built_page_is_that_of_the_sources():
    """After a change: `npm ci && npm run build` in hybrid_attention/app/web."""
    web = STATIC.parent / "web"
    sources = [web / name for name in ("index.html", "package-lock.json", "vite.config.js")]
    digest = hashlib.sha256()
    for path in [*sources, *sorted((web / "src").iterdir())]:
        digest.update(path.read_bytes())
    assert (STATIC / "source.sha256").read_text() == digest.hexdigest()
