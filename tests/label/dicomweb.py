"""The part of a DICOMweb server that MONAI Label reads images through: a stand-in, not a test of any real one."""

import json
import re
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlparse

from pydicom import Dataset, dcmread

LISTED = ("StudyInstanceUID", "SeriesInstanceUID", "Modality", "PatientID", "StudyDate", "StudyTime")


def dicomweb_server(paths):
    """Return a server of files, a series each, on a free port of loopback, to be run by `serve_forever`."""
    files = {path: dcmread(path, stop_before_pixels=True) for path in paths}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            url = urlparse(self.path)
            series = re.fullmatch(r"/studies/[^/]+/series/([^/]+)", url.path)
            if url.path == "/series":
                self.answer("application/dicom+json", json.dumps(listed(dict(parse_qsl(url.query)))).encode())
            elif series:
                parts = [path.read_bytes() for path, header in files.items() if header.SeriesInstanceUID == series[1]]
                body = b"".join(b"--part\r\nContent-Type: application/dicom\r\n\r\n%b\r\n" % part for part in parts)
                self.answer('multipart/related; type="application/dicom"; boundary=part', body + b"--part--")
            else:
                self.send_error(404)

        def answer(self, kind, body):
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format, *args):
            pass

    def listed(query):
        answers = []
        for header in files.values():
            entry = Dataset()
            for key in LISTED:
                setattr(entry, key, header[key].value)
            if all(str(header[key].value) == value for key, value in query.items() if key in LISTED):
                answers.append(entry.to_json_dict())
        return answers

    return ThreadingHTTPServer(("127.0.0.1", 0), Handler)
