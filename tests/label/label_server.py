"""A MONAI Label server on loopback, and what its clients ask of it."""

import json
import os
import socket
import subprocess
import time
from email import message_from_bytes
from pathlib import Path

import requests

PATTERNS = ["*.png", "*.jpg", "*.jpeg", "*.dcm", "*.nii.gz"]


def environment(folder):
    """Nothing of this checkout or of the user's home, and a core a process."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("MONAI_", "PYTHON"))}
    return {
        **kept,
        "MONAI_LABEL_DATASTORE_FILE_EXT": json.dumps(PATTERNS),
        "MONAI_LABEL_SESSION_PATH": str(folder / "sessions"),
        "HOME": str(folder),
        "OMP_NUM_THREADS": "1",
    }


def until(condition, seconds, fault):
    """Wait for a condition; `fault` gives the message if it does not come true."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, fault()
        time.sleep(0.3)


class Server:
    """A server that runs inside a `with`."""

    def __init__(self, python, app, models, studies=None, port=None, **variables):
        self.folder = Path(app).parent
        self.studies, self.port = studies or self.folder / "studies", port
        if port is None:
            with socket.create_server(("127.0.0.1", 0)) as probe:
                self.port = probe.getsockname()[1]
        self.log, self.env = self.folder / f"{self.port}.log", {**environment(self.folder), **variables}
        words = f"--host 127.0.0.1 --port {self.port} --app {app} --studies {self.studies} --conf zoo_source local"
        words = f"-m monailabel.main start_server {words} --conf sam2 false --conf models {','.join(models)}"
        self.command = [str(python), *words.split()]

    def __enter__(self):
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                self.command, cwd=self.folder, env=self.env, stdout=log, stderr=subprocess.STDOUT
            )
        try:
            until(self._answers, 240, lambda: f"the server did not start:\n{self.log.read_text()[-4000:]}")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def _answers(self):
        assert self.process.poll() is None, f"the server ended:\n{self.log.read_text()[-4000:]}"
        try:
            return self.ask("GET", "/info/").ok
        except requests.ConnectionError:
            return False

    def ask(self, method, path, **options):
        return requests.request(method, f"http://127.0.0.1:{self.port}{path}", timeout=300, **options)

    def add_image(self, name, path):
        files = {"file": (path.name, path.read_bytes())}
        return self.ask("PUT", "/datastore/", params={"image": name}, files=files)

    def add_label(self, name, path):
        files = {"label": (path.name, path.read_bytes())}
        return self.ask("PUT", "/datastore/label", params={"image": name, "tag": "final"}, files=files)

    def remove_label(self, name):
        """Remove a label; the server notes it when it next looks at its folder."""
        left = self.ask("GET", "/datastore/").json()["completed"] - 1
        self.ask("DELETE", "/datastore/label", params={"id": name, "tag": "final"})
        removed = lambda: self.ask("GET", "/datastore/").json()["completed"] == left  # noqa: E731
        until(removed, 60, lambda: f"{name} still has its label")

    def infer(self, model, image=None, file=None, output=None, **params):
        """Return the JSON answer, the name and the content of the file; without a file, the whole response."""
        files = {"params": (None, json.dumps(params)), **({"file": (file.name, file.read_bytes())} if file else {})}
        got = self.ask("POST", f"/infer/{model}", params={"image": image, "output": output}, files=files)
        if not got.ok or "multipart" not in got.headers["Content-Type"]:
            return got
        whole = message_from_bytes(f"Content-Type: {got.headers['Content-Type']}\r\n\r\n".encode() + got.content)
        parts = {part.get_param("name", header="Content-Disposition"): part for part in whole.get_payload()}
        content = {name: part.get_payload(decode=True) for name, part in parts.items()}
        return json.loads(content["params"]), parts["image"].get_filename(), content["image"]

    def train(self, model, **params):
        """Train to the end; return the status and the last lines of the log."""
        started = self.ask("POST", f"/train/{model}", json={"max_epochs": 1, "tracking": "None", **params})
        assert started.ok, started.text
        task = {}

        def ended():
            task.update(self.ask("GET", "/train/").json())
            return task["status"] not in ("SUBMITTED", "RUNNING")

        until(ended, 540, lambda: f"{model} did not end its training: {task['details']}")
        return task["status"], "\n".join(task["details"])
