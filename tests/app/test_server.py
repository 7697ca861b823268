import hashlib
import http.client
import socket

from hybrid_attention.app.server import STATIC
from hybrid_attention.cli import main


def get(server, path, host=None, method="GET"):
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
    connection.request(method, path, headers={} if host is None else {"Host": host})
    response = connection.getresponse()
    return response.status, response.headers, response.read()


def test_serves_the_page_and_the_model_with_safe_headers_on_loopback_alone(server):
    status, headers, content = get(server, "/")
    assert status == 200 and b"<title>" in content
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "http" not in policy and "unsafe-inline" not in policy
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert headers["Cross-Origin-Embedder-Policy"] == "require-corp"
    assert get(server, "/ort.mjs")[1]["Content-Type"] == "text/javascript"
    assert len(get(server, "/model.onnx")[2]) > 1e6
    for path in ("/../server.py", "/%2e%2e/server.py", "//etc/passwd", "/assets/", "/nothing"):
        assert get(server, path)[0] == 404
    assert server.server_address[0] == "127.0.0.1"
    assert get(server, "/", host="attacker.example")[0] == 403
    assert get(server, "/", host=f"localhost:{server.server_port}")[0] == 200
    assert get(server, "/", method="POST")[0] == 501  # no uploads


def test_ports(capsys):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        for given, message in ((port, f"port {port} is in use"), (70000, "from 0 to 65535, got 70000")):
            assert main(["app", "--no_browser", "--port", str(given)]) == 1
            assert message in capsys.readouterr().err


def test_the_built_page_is_that_of_the_sources():
    """After a change: `npm ci && npm run build` in hybrid_attention/app/web."""
    web = STATIC.parent / "web"
    sources = [web / name for name in ("index.html", "package-lock.json", "vite.config.js")]
    content = b"".join(path.read_bytes() for path in [*sources, *sorted((web / "src").iterdir())])
    assert (STATIC / "source.sha256").read_text() == hashlib.sha256(content).hexdigest()
