"""A killed drill leaves no process: its guard ends them."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from fintech.testing.processes import BASE_DIR, wait_until
from loadtests.guard import runs

pytestmark = pytest.mark.processes

# Starts a PostgreSQL server and another process, prints the folder and both PIDs, and waits for a line.
DRILL = """
import subprocess, sys
from fintech.run.postgres import EmbeddedPostgres
from loadtests.own_platform import own_folder

with own_folder() as folder:
    server = EmbeddedPostgres(folder / "postgres", settings={"fsync": "off"})
    server.start()
    child = subprocess.Popen(["sleep", "600"], start_new_session=True)
    print(folder, server.pid(), child.pid, flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def drill() -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", DRILL]
    with subprocess.Popen(command, cwd=BASE_DIR, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


def started(drill: subprocess.Popen[str]) -> tuple[Path, list[psutil.Process]]:
    assert drill.stdout is not None
    folder, *pids = drill.stdout.readline().split()
    return Path(folder), [psutil.Process(int(pid)) for pid in pids]


def test_the_guard_of_a_killed_drill_ends_its_processes_and_removes_its_folder(drill):
    folder, processes = started(drill)
    assert all(map(runs, processes))

    drill.kill()

    wait_until(lambda: not any(map(runs, processes)), 60, lambda: f"ended: {processes}")
    wait_until(lambda: not folder.exists(), 60, "the folder is removed")


def test_the_guard_of_a_killed_drill_unmounts_what_it_mounted(drill):
    folder, _ = started(drill)
    place = folder / "disk" / "inner"
    for mounted in (place.parent, place):
        mounted.mkdir()
        if subprocess.run(["mount", "-t", "tmpfs", "tmpfs", mounted], capture_output=True, check=False).returncode:
            pytest.skip("it needs the right to mount a file system")
    (place / "file").touch()

    drill.kill()

    wait_until(lambda: not folder.exists(), 60, "the folder is removed")
    assert not [one for one in psutil.disk_partitions(all=True) if one.mountpoint.startswith(str(folder))]


def test_the_guard_of_a_drill_that_ends_has_gone_before_it(drill):
    folder, processes = started(drill)
    [guard] = [child for child in psutil.Process(drill.pid).children() if "loadtests.guard" in child.cmdline()]

    drill.communicate("\n", timeout=120)

    assert drill.returncode == 0
    assert not any(map(runs, [guard, *processes]))
    assert not folder.exists()


def test_a_guard_spares_the_processes_of_another_drill(drill):
    folder, processes = started(drill)
    command = [sys.executable, "-m", "loadtests.guard", f"{folder}-2"]
    subprocess.run(command, cwd=BASE_DIR, stdin=subprocess.DEVNULL, check=True, timeout=60)

    assert all(map(runs, processes))
    assert folder.exists()
