"""A MONAI Label server on loopback, and what its clients ask of it."""

import json
import os
import re
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from dataclasses import dataclass
from email.parser import BytesParser
from pathlib import Path

PATTERNS = ["*.png", "*.jpg", "*.jpeg", "*.dcm", "*.nii.gz"]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


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


def start_command(python, app, studies, port, models):
    words = f"-m monailabel.main start_server --host 127.0.0.1 --port {port} --app {app} --studies {studies}".split()
    return [str(python), *words, *f"--conf models {','.join(models)} --conf zoo_source local --conf sam2 false".split()]


@dataclass
class Answer:
    status: int
    content: bytes
    type: str = ""
    name: str = ""

    def json(self):
        return json.loads(self.content)


class Server:
    """A server that runs inside a `with`."""

    def __init__(self, python, app, models, studies=None, **variables):
        self.folder, self.port = Path(app).parent, free_port()
        self.studies = studies or self.folder / "studies"
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = self.folder / f"{self.port}.log"
        self.command = start_command(python, app, self.studies, self.port, models)
        self.variables = variables
        self.process = None

    def __enter__(self):
        env = {**environment(self.folder), **self.variables}
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                self.command, cwd=self.folder, env=env, stdout=log, stderr=subprocess.STDOUT
            )
        try:
            self._wait()
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

    def _wait(self, seconds=240):
        end = time.monotonic() + seconds
        while time.monotonic() < end and self.process.poll() is None:
            try:
                if self.ask("GET", "/info/").status == 200:
                    return
            except OSError:
                time.sleep(0.5)
        raise AssertionError(f"the server did not start:\n{self.log.read_text()[-4000:]}")

    def ask(self, method, path, query=None, fields=None, body=None):
        """Send a request; `fields` are those of a form, a file is a path."""
        url = f"{self.url}{path}" + (f"?{urllib.parse.urlencode(query)}" if query else "")
        headers = {}
        if fields is not None:
            boundary = uuid.uuid4().hex
            body = b"".join(_part(boundary, name, value) for name, value in fields.items()) + f"--{boundary}--".encode()
            headers["Content-Type"] = f"multipart/form-data; boundary={boundary}"
        elif body is not None:
            body = json.dumps(body).encode()
            headers["Content-Type"] = "application/json"
        request = urllib.request.Request(url, body, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=300) as got:
                return Answer(got.status, got.read(), got.headers.get("Content-Type", ""))
        except urllib.error.HTTPError as error:
            return Answer(error.code, error.read())

    def add_image(self, name, path):
        return self.ask("PUT", "/datastore/", {"image": name}, {"file": Path(path)})

    def add_label(self, name, path):
        return self.ask("PUT", "/datastore/label", {"image": name, "tag": "final"}, {"label": Path(path)})

    def remove_label(self, name, seconds=60):
        """Remove a label; the server notes it when it next looks at its folder."""
        left = self.ask("GET", "/datastore/").json()["completed"] - 1
        self.ask("DELETE", "/datastore/label", {"id": name, "tag": "final"})
        end = time.monotonic() + seconds
        while self.ask("GET", "/datastore/").json()["completed"] != left:
            assert time.monotonic() < end, f"{name} still has its label"
            time.sleep(0.2)

    def infer(self, model, image=None, file=None, output=None, **params):
        """Return the JSON answer and the file as an `Answer`; where there is no file, the whole `Answer`."""
        fields = {"params": json.dumps(params), **({"file": Path(file)} if file else {})}
        query = {key: value for key, value in (("image", image), ("output", output)) if value}
        got = self.ask("POST", f"/infer/{model}", query, fields)
        if got.status != 200 or "multipart" not in got.type:
            return got
        parts = {}
        for part in BytesParser().parsebytes(f"Content-Type: {got.type}\r\n\r\n".encode() + got.content).get_payload():
            name = re.search(r'name="?(\w+)', part["Content-Disposition"])[1]
            parts[name] = Answer(200, part.get_payload(decode=True), part.get_content_type(), part.get_filename() or "")
        return parts["params"].json(), parts["image"]

    def train(self, model, seconds=540, **params):
        """Train to the end; return the status and the last lines of the log."""
        started = self.ask("POST", f"/train/{model}", body={"max_epochs": 1, "tracking": "None", **params})
        assert started.status == 200, started
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            task = self.ask("GET", "/train/").json()
            if task["status"] not in ("SUBMITTED", "RUNNING"):
                return task["status"], "\n".join(task["details"])
            time.sleep(0.5)
        self.ask("DELETE", "/train/")
        raise AssertionError(f"{model} did not end its training within {seconds} s: {task['details']}")


def _part(boundary, name, value):
    start = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"'
    if isinstance(value, Path):
        head = f'{start}; filename="{value.name}"\r\nContent-Type: application/octet-stream\r\n\r\n'
        return head.encode() + value.read_bytes() + b"\r\n"
    return f"{start}\r\n\r\n{value}\r\n".encode()
