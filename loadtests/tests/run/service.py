"""A small service with a fault of its own, and `python -m loadtests.run` against it."""

import csv
import json
import os
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from loadtests.tests.simulator import ROOT

KEY = "load-test-key"


class Service:
    """Answers single payments rightly. `seconds` is what each costs; while `stalled` is held, none is answered."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.stalled = threading.Lock()
        self.one_at_a_time = threading.Lock()
        self.redirect = ""
        self.page: Any = {"data": [], "next": None}
        self.payments = 0
        self.url = ""

    def pay(self, body: dict[str, Any]) -> dict[str, Any]:
        with self.stalled:
            pass
        if self.seconds:
            with self.one_at_a_time:
                time.sleep(self.seconds)
        self.payments += 1
        new = {"id": str(uuid.uuid4()), "status": "succeeded", "gateway_reference": "g", "settled_at": "now"}
        return body | new | {"failure": None, "amount_refunded": 0}


@contextmanager
def running_service() -> Iterator[Service]:
    service = Service()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            if service.redirect:
                self.answer(302, {}, Location=service.redirect)
            elif self.headers["Authorization"] != f"Bearer {KEY}":
                self.answer(401, {"detail": "The API key is unknown."})
            else:
                self.answer(200, service.page)

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self.answer(201, service.pay(body))

        def answer(self, status: int, body: Any, **headers: str) -> None:
            content = json.dumps(body).encode()
            self.send_response(status)
            for name, value in {"Content-Length": str(len(content)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        request_queue_size = 128  # with five, merchants that connect together try again after a second

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    service.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield service
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class LoadTest:
    """A load test in a folder of its own; `key` is what its key file contains."""

    def __init__(self, directory: Path, url: str, key: str = KEY) -> None:
        self.output = directory / "load_output"
        self._key_file = directory / "api_key"
        self._key_file.write_text(key)
        self._url = url

    def start(self, *options: str) -> "subprocess.Popen[str]":
        where = ["--base-url", self._url, "--api-key-file", str(self._key_file), "--output", str(self.output)]
        command = [sys.executable, "-m", "loadtests.run", *where, *options]
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("LOCUST_", "API_KEY"))}
        pipe = subprocess.PIPE
        return subprocess.Popen(command, cwd=ROOT, env=clean, stdout=pipe, stderr=pipe, text=True)

    def run(self, *options: str) -> tuple[int, str, str]:
        """Return the exit code, the output and the errors."""
        with self.start(*options) as process:
            output, errors = process.communicate(timeout=120)
        assert "Traceback" not in errors
        return process.returncode, output, errors

    @property
    def summary(self) -> dict[str, Any]:
        return json.loads((self.output / "load_summary.json").read_text())

    @property
    def rows(self) -> list[dict[str, str]]:
        with (self.output / "load_samples.csv").open(newline="") as file:
            return list(csv.DictReader(file))

    @property
    def report(self) -> str:
        return (self.output / "load_report.html").read_text()
