"""Metrics files belong to slots: no two processes share one, and a scrape costs what it cost at first."""

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fintech.telemetry import metric_slots
from fintech.testing.processes import BASE_DIR

pytestmark = pytest.mark.processes

# Takes a slot, counts once in files of every kind, says which slot, and stays until it is killed.
PROCESS = """
import sys
from fintech.telemetry import metric_slots
slot = metric_slots.claim(sys.argv[1], shared=sys.argv[1] == "web")
from prometheus_client import Counter, Gauge, Histogram, Summary
count = Counter("claims_total", "", ["status"])
for status in ("succeeded", "declined", "blocked", "failed"):
    count.labels(status).inc()
Histogram("seconds", "").observe(0.1)
Summary("amount", "", ["currency"]).labels("EUR").observe(1)
Gauge("in_progress", "", multiprocess_mode="livesum").inc()
print(slot.name, slot.epoch, flush=True)
sys.stdin.read()
"""

# One process that makes 500 others, one after the other: each takes a slot, counts, and is killed. It loads what
# they need, as gunicorn's first process does.
RECYCLE = f"""
import os, signal, sys
from fintech.server import cooperation
from fintech.telemetry import metric_slots
import prometheus_client
for number in range(int(sys.argv[2])):
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.dup2(os.open(os.devnull, os.O_RDWR), 0)
        os.dup2(writer, 1)
        sys.argv[1] = "web"
        exec({PROCESS.replace("sys.stdin.read()", "signal.pause()")!r})
    os.read(reader, 100)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os.close(reader)
    os.close(writer)
"""


@pytest.fixture(autouse=True)
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RUNTIME_DIR", str(tmp_path))
    return tmp_path


class Claimer:
    def __init__(self, role: str) -> None:
        command = [sys.executable, "-c", PROCESS, role]
        self._process = subprocess.Popen(
            command, cwd=BASE_DIR, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        self.slot, self.epoch = self._process.stdout.readline().split()

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate()


@pytest.fixture
def claimers() -> Iterator[list[Claimer]]:
    made: list[Claimer] = []
    yield made
    for claimer in made:
        claimer.kill()


def web_files(runtime: Path) -> list[str]:
    return sorted(path.name for path in (runtime / "metrics" / "web").iterdir())


def samples() -> dict[str, float]:
    lines = metric_slots.render("web").decode().splitlines()
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))}


def test_processes_that_live_together_have_slots_of_their_own(claimers):
    claimers += [Claimer("web") for _ in range(4)]

    assert [claimer.slot for claimer in claimers] == ["web-0", "web-1", "web-2", "web-3"]
    assert len({claimer.epoch for claimer in claimers}) == 1
    assert samples()['claims_total{status="failed"}'] == 4
    assert samples()["in_progress"] == 4


def test_processes_that_begin_together_have_slots_of_their_own(claimers):
    with ThreadPoolExecutor(8) as threads:
        claimers += threads.map(Claimer, ["web"] * 8)

    assert sorted(claimer.slot for claimer in claimers) == [f"web-{number}" for number in range(8)]
    assert len({claimer.epoch for claimer in claimers}) == 1


def test_the_successor_of_a_killed_process_keeps_its_counters_but_not_its_gauges(claimers, runtime):
    first, second = Claimer("web"), Claimer("web")
    claimers += [first, second]
    files = web_files(runtime)
    first.kill()
    third = Claimer("web")
    claimers.append(third)

    assert third.slot == first.slot
    assert web_files(runtime) == files
    assert samples()['claims_total{status="failed"}'] == 3
    assert samples()["seconds_count"] == 3
    assert samples()["in_progress"] == 2


def test_a_process_whose_counters_are_in_memory_has_an_epoch_of_its_own(claimers):
    claimers += [Claimer("worker"), Claimer("worker")]

    assert [claimer.slot for claimer in claimers] == ["worker-0", "worker-1"]
    assert claimers[0].epoch != claimers[1].epoch

    claimers[0].kill()
    claimers.append(Claimer("worker"))
    assert (claimers[2].slot, claimers[2].epoch) == (claimers[0].slot, claimers[0].epoch)


def test_no_process_takes_two_slots():
    twice = "from fintech.telemetry.metric_slots import claim; claim('web', shared=True); claim('web', shared=True)"
    done = subprocess.run([sys.executable, "-c", twice], cwd=BASE_DIR, capture_output=True, text=True, check=False)

    assert "already has slot web-0" in done.stderr


@pytest.mark.parametrize("tear", [b"", b"\0" * 3, b"\xff" * 4096, b"\x40\0\0\0\0\0\0\0\x10\0\0\0" + b"{" * 100])
def test_torn_files_begin_a_new_epoch_instead_of_stopping_the_start(claimers, runtime, tear):
    claimer = Claimer("web")
    claimers.append(claimer)
    claimer.kill()
    torn = next(path for path in (runtime / "metrics" / "web").glob("counter_*.db"))
    torn.write_bytes(tear)

    metric_slots.prepare("web")
    claimers.append(Claimer("web"))

    assert (claimers[1].epoch == claimer.epoch) == (tear == b"")
    assert samples()['claims_total{status="failed"}'] == 1


def test_whole_files_are_kept_at_a_start(claimers, runtime):
    claimers.append(Claimer("web"))
    claimers[0].kill()

    metric_slots.prepare("web")

    assert samples()['claims_total{status="failed"}'] == 1
    assert "in_progress" not in samples()


def test_a_file_that_is_just_being_made_does_not_break_a_scrape(claimers, runtime):
    claimers.append(Claimer("web"))
    (runtime / "metrics" / "web" / "gauge_livesum_web-1.db").touch()

    assert samples()["in_progress"] == 1


def test_a_scrape_costs_the_same_after_fifty_processes(claimers, runtime, tmp_path_factory, monkeypatch, capsys):
    claimers += [Claimer("web") for _ in range(3)]
    files = web_files(runtime)
    fresh = tmp_path_factory.mktemp("fresh")
    shutil.copytree(runtime, fresh, dirs_exist_ok=True)

    claimers.pop().kill()
    subprocess.run([sys.executable, "-c", RECYCLE, "web", "50"], cwd=BASE_DIR, check=True, timeout=60)
    claimers.append(Claimer("web"))

    assert web_files(runtime) == files
    assert samples()['claims_total{status="failed"}'] == 54
    before, after = quickest_scrapes(fresh, runtime, monkeypatch=monkeypatch)
    with capsys.disabled():
        print(f"\na scrape after 50 processes takes {after / before:.2f} times as long as a fresh one")


def quickest_scrapes(*folders: Path, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds in each folder, in turns: other work on the machine meets them alike."""
    times: dict[Path, list[float]] = {folder: [] for folder in folders}
    for _ in range(50):
        for folder in folders:
            monkeypatch.setenv("RUNTIME_DIR", str(folder))
            start = time.perf_counter()
            metric_slots.render("web")
            times[folder].append(time.perf_counter() - start)
    return [min(some) for some in times.values()]
