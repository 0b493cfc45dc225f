"""The helpers for tests must fail loudly, and end nothing but what they started."""

import os
import sys
import time
from contextlib import nullcontext
from threading import Thread

import psutil
import pytest
from prometheus_client import CollectorRegistry, Gauge, generate_latest

from fintech.telemetry.metrics_server import MetricsServer
from fintech.testing.processes import (
    MOST_SLOWNESS,
    Load,
    Program,
    answers,
    free_port,
    running,
    scrape,
    slowness,
    wait_until,
)


@pytest.mark.parametrize("what", ["the moon is up", lambda: "the moon is up"])
def test_a_condition_that_never_comes_is_named(what):
    with pytest.raises(AssertionError, match=r"after 0\.1 s still not: the moon is up"):
        wait_until(lambda: False, 0.1, what)


@pytest.mark.parametrize(
    ("load", "strict", "comes"), [(1, False, False), (8, False, True), (8, True, False), (1000, False, True)]
)
def test_a_condition_has_more_time_on_a_busy_machine_unless_its_time_is_the_promise(monkeypatch, load, strict, comes):
    monkeypatch.setattr(os, "getloadavg", lambda: (load * os.cpu_count(), 0, 0))
    later = time.monotonic() + 0.15
    assert 1 <= slowness() <= MOST_SLOWNESS

    with nullcontext() if comes else pytest.raises(AssertionError):
        wait_until(lambda: time.monotonic() > later, 0.05, strict=strict, interval=0.01)


def test_a_load_that_fails_fails_the_test():
    with pytest.raises(ZeroDivisionError), Load([lambda: None, lambda: print(1 / 0)]) as load:
        assert not load.stopped.is_set()
    assert load.stopped.is_set()


def test_no_port_is_given_twice():
    assert len({free_port() for _ in range(100)}) == 100


@pytest.mark.processes
def test_a_program_that_ends_before_it_is_ready_shows_its_output(tmp_path):
    program = Program([sys.executable, "-c", "raise SystemExit('no port')"], log=tmp_path / "log")

    with pytest.raises(AssertionError, match=r"ended with 1:\nno port"):
        program.start(ready=lambda: False)


@pytest.mark.processes
def test_children_end_with_their_program_and_strangers_do_not(tmp_path):
    fork = "import os, time; print(os.fork(), flush=True); time.sleep(600)"
    with running([sys.executable, "-c", "import time; time.sleep(600)"], log=tmp_path / "stranger") as stranger:
        with running([sys.executable, "-c", fork], log=tmp_path / "parent") as parent:
            child = wait_until(lambda: parent.output().split()[:1], what="the program has forked")[0]
        wait_until(lambda: not psutil.pid_exists(int(child)) or is_zombie(int(child)), what="the child ends")
        assert stranger.alive


def is_zombie(pid: int) -> bool:
    return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_nothing_answers_on_a_free_port():
    assert not answers(free_port(), "/")


def test_a_scrape_has_each_sample_with_its_labels_in_order():
    registry = CollectorRegistry()
    Gauge("answers", "Answers.", ["path", "code"], registry=registry).labels("/a b#", "200").set(2)
    Gauge("idle_seconds", "Idle.", registry=registry).set(float("inf"))

    with MetricsServer(("127.0.0.1", 0), lambda: generate_latest(registry)) as server:
        thread = Thread(target=server.serve_forever, args=[0.05])
        thread.start()
        found = scrape(server.server_address[1])
        server.shutdown()
        thread.join()

    assert found == {'answers{code="200",path="/a b#"}': 2.0, "idle_seconds": float("inf")}
