"""Metrics files belong to slots, so that they outlive processes and do not grow with them."""

import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from fintech.server import cooperation
from fintech.telemetry import metric_slots
from fintech.testing.processes import BASE_DIR, wait_until
from fintech.testing.tasks import event_loop, run_task

pytestmark = pytest.mark.processes

# Takes a slot, counts, says so, and waits for its end.
COUNT = """
import sys
from fintech.server import cooperation
from fintech.telemetry import metric_slots
slot = metric_slots.claim("web", shared=True)
from prometheus_client import Counter, Gauge, Histogram
counter = Counter("things_total", "Things.", ["kind"])
counter.labels("a").inc(float(sys.argv[1]))
Gauge("things_in_progress", "Things.", multiprocess_mode="livesum").inc()
Histogram("things_seconds", "Things.").observe(0.1)
print(slot.name, slot.epoch, flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def runtime(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("RUNTIME_DIR", str(tmp_path))
    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR", raising=False)
    return tmp_path / "metrics" / "web"


@contextmanager
def process(amount: float = 1) -> Iterator[tuple[subprocess.Popen[str], str, str]]:
    """A process with a slot, the slot's name and its epoch."""
    command = [sys.executable, "-c", COUNT, str(amount)]
    running = subprocess.Popen(command, cwd=BASE_DIR, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert running.stdout is not None
        name, epoch = running.stdout.readline().split()
        yield running, name, epoch
    finally:
        running.kill()
        running.communicate()


def samples() -> dict[str, float]:
    families = text_string_to_metric_families(metric_slots.render("web").decode())
    return {sample.name + str(sample.labels or ""): sample.value for family in families for sample in family.samples}


def counted() -> float:
    return samples().get("things_total{'kind': 'a'}", 0)


def test_processes_that_run_at_once_have_slots_of_their_own_and_one_epoch():
    with process() as (_, first, epoch), process(2) as (_, second, same):
        assert (first, second) == ("web-0", "web-1")
        assert epoch == same
        assert counted() == 3
        assert samples()["things_in_progress"] == 2


def test_a_killed_process_leaves_its_slot_and_its_counts_to_the_next():
    with process(5) as (running, name, epoch):
        running.send_signal(signal.SIGKILL)
        running.wait()
        with process(2) as (_, successor, same):
            assert (successor, same) == (name, epoch)
            assert counted() == 7
            assert samples()["things_in_progress"] == 1, "what the dead one had in progress ended with it"


def test_the_files_do_not_grow_with_the_number_of_lives(runtime):
    for _ in range(3):
        with process(), process():
            files = sorted(path.name for path in runtime.glob("*"))
    with process():
        assert sorted(path.name for path in runtime.glob("*")) == files
    assert counted() == 7


def test_the_metrics_include_the_epoch():
    with process() as (_, _, epoch):
        assert samples()[f"metrics_epoch_info{{'epoch': '{epoch}'}}"] == 1


def test_a_start_keeps_the_counts_and_drops_the_gauges_of_the_dead():
    with process(5) as (_, _, epoch):
        pass

    metric_slots.prepare("web")

    assert counted() == 5
    assert "things_in_progress" not in samples()
    assert str(metric_slots.epoch("web")) == epoch


def test_the_gauges_of_a_process_that_has_ended_are_forgotten():
    with process(5) as (running, _, _):
        running.kill()
        running.wait()
        metric_slots.forget_gauges(running.pid)

        assert "things_in_progress" not in samples()
        assert counted() == 5


def test_the_gauges_of_a_live_process_are_kept():
    with process() as (running, _, _):
        metric_slots.forget_gauges(running.pid)

        assert samples()["things_in_progress"] == 1


def test_the_gauges_of_the_slots_new_owner_are_kept():
    with process() as (predecessor, _, _):
        predecessor.kill()
        predecessor.wait()
        with process():
            metric_slots.forget_gauges(predecessor.pid)

            assert samples()["things_in_progress"] == 1


@pytest.mark.parametrize("content", [b"\xff" * 1024, b"\x10\x00", b"\x00\x10\x00\x00\x00\x00\x00\x00" + b"\xff" * 4096])
def test_a_torn_file_begins_a_new_epoch(runtime, content):
    """A power cut can tear a file that is mapped; counters without their file would be too low for ever."""
    with process(5) as (_, _, epoch):
        pass
    (runtime / "counter_web-0.db").write_bytes(content)

    metric_slots.prepare("web")

    assert str(metric_slots.epoch("web")) != epoch
    assert counted() == 0
    with process(2):
        assert counted() == 2


@pytest.mark.parametrize("content", ["", "x", "\0" * 36])
def test_a_torn_epoch_begins_a_new_one(runtime, content):
    with process(5):
        pass
    (runtime / "epoch").write_text(content)

    metric_slots.prepare("web")

    assert isinstance(metric_slots.epoch("web"), uuid.UUID)
    assert counted() == 0


def test_roles_do_not_share_their_files(runtime):
    with process(5):
        assert metric_slots.epoch("worker") != metric_slots.epoch("web")
        assert b"things" not in metric_slots.render("worker")


def test_a_scrape_does_not_get_slower_with_each_life():
    def seconds() -> float:
        start = time.perf_counter()
        metric_slots.render("web")
        return time.perf_counter() - start

    with process():
        fresh = min(seconds() for _ in range(5))
    for _ in range(5):
        with process():
            pass
    assert min(seconds() for _ in range(5)) < 3 * fresh + 0.01


def test_a_slot_is_free_as_soon_as_its_process_is_gone():
    with process() as (running, _, _):
        running.terminate()
        wait_until(lambda: running.poll() is not None)
        with process() as (_, name, _):
            assert name == "web-0"


class Written:
    """A value in place of one in a file."""

    def __init__(self) -> None:
        self.amounts: list[float] = []

    def inc(self, amount: float) -> None:
        self.amounts.append(amount)


def test_a_thread_writes_each_increment_at_once():
    value = metric_slots._collecting(Written)()

    value.inc(1)
    value.inc(2)

    assert value.amounts == [1, 2]


def test_the_tasks_of_a_turn_write_one_sum():
    gauge, counter = (metric_slots._collecting(Written)() for _ in range(2))
    written_early: list[float] = []

    def task() -> None:
        for amount in (1, 2.5, 4):
            counter.inc(amount)
        gauge.inc(1)
        gauge.inc(-1)
        written_early.extend(counter.amounts)
        cooperation.end_turn()
        counter.inc(8)

    with ThreadPoolExecutor(1) as threads, event_loop(threads) as loop:
        run_task(loop, task)

    assert written_early == []
    assert counter.amounts == [7.5, 8]
    assert gauge.amounts == []
