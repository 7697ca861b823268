"""Serve the built page and the model to this computer only; the browser computes."""

from __future__ import annotations

import errno
import io
import mimetypes
import os
import webbrowser
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from hybrid_attention.loading import WHOLE
from hybrid_attention.prediction.bundles import DEFAULT_BUNDLE, own_bundles

PORT = 8421
ADDRESS = "127.0.0.1"
STATIC = Path(__file__).parent / "static"
_HEADERS = {
    # nothing from other servers; blob: for objects of the page itself, WebAssembly for ONNX Runtime
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self' blob:; connect-src 'self'; "
        "img-src 'self' blob: data:; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    # isolated, so that WebAssembly may use several threads
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
_TYPES = {".js": "text/javascript", ".mjs": "text/javascript", ".gz": "application/gzip"}


class PageServer(ThreadingHTTPServer):
    """HTTP server of the page on the loopback address; port 0 is any that is free."""

    daemon_threads = True
    allow_reuse_address = os.name != "nt"  # on Windows it would share a port that is in use

    def __init__(self, port: int = PORT) -> None:
        self.files = {"/" + file.relative_to(STATIC).as_posix(): file for file in STATIC.rglob("*") if file.is_file()}
        self.files |= {
            "/": STATIC / "index.html",
            "/model.onnx": own_bundles().get(DEFAULT_BUNDLE, Path(DEFAULT_BUNDLE)) / WHOLE,
        }
        for path in self.files.values():
            if not path.is_file():
                raise FileNotFoundError(f"{path} is missing: install the package again")
        if not 0 <= port <= 65535:
            raise ValueError(f"the port must be from 0 to 65535, got {port}")
        try:
            super().__init__((ADDRESS, port), _Handler)
        except OSError as error:
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise
            raise OSError(f"port {port} is in use or not allowed: choose another with --port") from None

        self.url = f"http://{ADDRESS}:{self.server_port}/"


def serve(port: int = PORT, browser: bool = True) -> None:
    """Serve the page until it is interrupted (Ctrl+C), and open it in the default browser if `browser`."""
    with PageServer(port) as server:
        print(f"{server.url} (stop with Ctrl+C)", flush=True)
        if browser:
            webbrowser.open(server.url)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print()


class _Handler(SimpleHTTPRequestHandler):
    server: PageServer
    server_version, sys_version = "hybrid_attention", ""

    def send_head(self) -> io.BufferedReader | None:
        """Send the headers of a file of the page, and return the file."""
        own = {f"{name}:{self.server.server_port}" for name in (ADDRESS, "localhost")}
        if self.headers.get("Host") not in own:  # another site whose name was made to resolve to this computer
            self.send_error(HTTPStatus.FORBIDDEN)
            return None
        file = self.server.files.get(self.path.partition("?")[0])
        if file is None:
            self.send_error(HTTPStatus.NOT_FOUND)
            return None
        self.send_response(HTTPStatus.OK)
        kind = _TYPES.get(file.suffix) or mimetypes.guess_type(file.name, strict=False)[0]
        self.send_header("Content-Type", kind or "application/octet-stream")
        self.send_header("Content-Length", str(file.stat().st_size))
        self.end_headers()
        return file.open("rb")

    def end_headers(self) -> None:
        """Add the page's headers."""
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        super().end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing per request."""
