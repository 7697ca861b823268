"""Published weights without the internet: networks to publish, files named by their hash, a server on the loopback."""

import functools
import hashlib
import http.server
import threading
from types import SimpleNamespace

import pytest
import torch


@pytest.fixture(scope="session")
def unlike_birth():
    """Give a function that changes every batch norm, so that no tensor has the value it is born with."""

    def change(net):
        torch.manual_seed(0)
        for part in net.modules():
            if isinstance(part, torch.nn.BatchNorm2d):
                for tensor in (part.weight.data, part.bias.data, part.running_mean, part.running_var):
                    tensor.uniform_(0.5, 1.5)
        return net.eval()

    return change


@pytest.fixture(scope="session")
def save_published():
    """Give a function that saves `<name>-<start of its SHA-256>.pth`, in the older container of published files."""

    def save(name, state, folder):
        plain = folder / "plain.pth"
        torch.save(state, plain, _use_new_zipfile_serialization=False)
        return plain.rename(folder / f"{name}-{hashlib.sha256(plain.read_bytes()).hexdigest()[:8]}.pth")

    return save


@pytest.fixture
def serve(tmp_path, monkeypatch):
    """Give a function that serves a folder, with a fresh cache of `torch.hub`."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    running = []

    def start(folder):
        requests = []

        class Handler(http.server.SimpleHTTPRequestHandler):
            def log_message(self, *args):
                requests.append(self.path)

        web = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))
        thread = threading.Thread(target=web.serve_forever)
        thread.start()
        running.append((web, thread))
        return SimpleNamespace(
            address=f"http://127.0.0.1:{web.server_port}",
            requests=requests,
            cached=tmp_path / "cache" / "hub" / "checkpoints",
        )

    yield start
    for web, thread in running:
        web.shutdown()
        thread.join()
        web.server_close()
