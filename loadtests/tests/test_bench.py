"""A benchmark that is ended leaves nothing running; contenders are chosen by name, and compared with the last run."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from fintech.testing.processes import BASE_DIR, wait_until
from loadtests.bench.__main__ import REPORTS
from loadtests.bench.against import SERVE
from loadtests.bench.baseline import compare
from loadtests.bench.client import Result
from loadtests.bench.servers import is_chosen

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
