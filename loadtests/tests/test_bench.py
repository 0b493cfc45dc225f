"""A benchmark that is ended leaves nothing running; contenders are chosen by name, and compared with the last run."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil
import pytest

from fintech.http.views import json_answer
from fintech.testing.processes import BASE_DIR, wait_until
from loadtests.bench.__main__ import REPORTS, report
from loadtests.bench.against import SERVE
from loadtests.bench.baseline import compare
from loadtests.bench.client import Result, payment_requests, run_load
from loadtests.bench.servers import is_chosen
from payments.schemas import BatchOutput, BatchResult

NAMES = ("ours, 16", "ours, 64", "ours, all off, 16", "(c) FastAPI, 16")


@pytest.mark.parametrize(
    ("only", "chosen"),
    [
        (None, NAMES),
        (["ours, 16"], ("ours, 16",)),
        (["ours, 64", "all off"], ("ours, 64", "ours, all off, 16")),
        (["gone"], ()),
    ],
)
def test_contenders_are_chosen_by_texts_that_may_contain_commas(only, chosen):
    assert tuple(name for name in NAMES if is_chosen(name, only)) == chosen


@pytest.mark.parametrize(("only", "chosen"), [(None, ["scrape", "pages"]), (["pages"], ["pages"]), (["ours, 16"], [])])
def test_the_reports_after_the_contenders_are_chosen_by_their_names_too(only, chosen):
    assert [name for name in REPORTS if is_chosen(name, only)] == chosen


def rounds(*rates: int) -> dict[str, list[Result]]:
    return {"ours, 16": [Result(seconds=1, payments=rate, web_ms=0.3, postgres_ms=0.1) for rate in rates]}


@pytest.mark.parametrize(
    ("rates", "moved"),
    [
        ((1000, 1040, 980), []),
        ((1050, 1010, 1030), []),
        ((1500, 1540, 1480), ["ours, 16: payments/s 1000.00 -> 1500.00"]),
        ((600, 640, 580), ["ours, 16: payments/s 1000.00 -> 600.00"]),
    ],
)
def test_a_figure_moved_if_it_differs_from_the_last_run_by_more_than_the_noise(tmp_path, rates, moved):
    file = tmp_path / "baseline.json"

    assert compare(file, rounds(1000, 1020, 960)) == []
    assert compare(file, rounds(*rates)) == moved
    assert compare(file, rounds(*rates)) == []


@pytest.mark.parametrize(
    ("ours", "theirs", "verdict"),
    [
        (Result(1, 500), Result(1, 100), ""),
        (Result(1, 499), Result(1, 100), "BELOW"),
        (Result(1, 500), Result(1, 100, errors=1), "ERRORS"),
        (Result(1, 500, errors=1), Result(1, 100), "ERRORS"),
    ],
)
def test_a_floor_breaks_below_it_and_by_errors_of_either_side(ours, theirs, verdict, capsys):
    held = report({"ours, 16": [ours], "(b) tutorial DRF, 16": [theirs]})

    [line] = [line for line in capsys.readouterr().out.splitlines() if line.startswith("ours / tutorial DRF")]
    assert (held, line.rpartition("5.00")[2].strip()) == (not verdict, verdict)


@contextmanager
def answering(body: bytes) -> Iterator[int]:
    """Answer each POST with 200 and this body; return the port."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def test_the_refused_items_of_a_batch_are_errors():
    items = [BatchResult(code, {"id": "some", "status": "succeeded"}) for code in (201, 503, 201, 202, 201)]
    make = payment_requests("/v1/transactions/batch", {}, batch=len(items))

    with answering(json_answer(BatchOutput(items)).content) as port:
        result = run_load(port, make, clients=1, seconds=0.1, payments=len(items))

    answers = len(result.latencies)
    assert (result.payments, result.errors) == (3 * answers, 2 * answers)
    assert answers


@pytest.mark.processes
def test_sigterm_to_its_group_ends_its_servers_and_its_database():
    with subprocess.Popen(
        [sys.executable, "-c", SERVE],
        cwd=BASE_DIR,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as program:
        assert program.stdout is not None
        while not (line := program.stdout.readline()).startswith("["):
            assert line, "it did not start"
        children = psutil.Process(program.pid).children(recursive=True)
        postmaster = int((Path(json.loads(line)[2]) / "postmaster.pid").read_text().splitlines()[0])

        os.killpg(program.pid, signal.SIGTERM)

        gone = [*(child.pid for child in children), postmaster]
        wait_until(lambda: not any(map(psutil.pid_exists, gone)), timeout=60, what="its processes have ended")
    assert not Path(json.loads(line)[2]).exists()
