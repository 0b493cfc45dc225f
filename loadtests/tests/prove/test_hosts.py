"""Three web hosts and two workers on one database: hosts are killed, added and removed while merchants pay."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fintech.run.kpis import DRIFTS
from fintech.testing.processes import IN_FULL
from loadtests.prove import hosts
from loadtests.prove.fleet import UNSEEN, Fleet, fake_clock, is_zero

SECONDS = 120 if IN_FULL else 0

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(
        not list(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")),
        reason="libfaketime is not installed (apt install faketime)",
    ),
]


@pytest.mark.slow
@pytest.mark.timeout(SECONDS + 900)
def test_books_counters_and_trail_are_right_while_hosts_come_and_go(tmp_path):
    figures = hosts.run(tmp_path, SECONDS, print)

    assert min(figures["done"].values()) >= 1
    assert figures["samples"] > 0
    assert figures["drift_under_load"] == {}
    assert figures["payments"] > 0
    assert figures["alerts"] > 0
    assert (figures["lost_payments"], figures["lost_alerts"]) == ([], [])
    assert (figures["differences"], figures["findings"]) == ({}, [])
    assert figures["answers"].keys() <= {"200", "201", "202", "402", "409", "422", "503", "no answer"}, figures[
        "answers"
    ]


def test_a_look_without_a_comparison_of_the_counters_is_no_sample():
    watch = hosts.Watch(Fleet.__new__(Fleet))

    for found in ({}, {'gateway_drift{currency="EUR"}': 0.0}, {'kpi_drift{kpi="revenue",currency="EUR"}': 0.0}):
        watch.note(found)

    assert watch.found() == {"samples": 1, "drift_under_load": {}}


@pytest.mark.parametrize("found", [{}, dict.fromkeys(DRIFTS[1:], 0.0), {**dict.fromkeys(DRIFTS, 0.0), UNSEEN: 1.0}])
def test_a_difference_that_was_not_compared_is_not_zero(found):
    assert is_zero(dict.fromkeys(DRIFTS, 0.0))
    assert not is_zero(found)


@pytest.mark.parametrize("seconds", [3, -3])
def test_a_program_with_another_clock_can_sleep(seconds):
    code = "import time; began = time.monotonic(); time.sleep(0.1); print(time.time(), time.monotonic() - began >= 0.1)"
    earliest = time.time()

    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | fake_clock(seconds), capture_output=True, check=True
    )

    now, has_slept = done.stdout.decode().split()
    assert earliest <= float(now) - seconds <= time.time()
    assert has_slept == "True"
