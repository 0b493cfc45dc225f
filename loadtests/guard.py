"""`python -m loadtests.guard FOLDER`: wait until the process that started it ends, and end what it left.

A drill that is killed by SIGKILL cannot stop its platform. Its guard reads from a pipe that only the drill holds open,
so the guard notices its end, however that comes. Then it kills every process that has the drill's folder in its
environment or its command line, unmounts what is below the folder, and removes it.
"""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from fintech.testing.processes import BASE_DIR, wait_until

WAIT_SECONDS = 20


@contextmanager
def guarded(folder: Path) -> Iterator[None]:
    """Start a guard of the folder, which leaves with the block or kills what the block's process left."""
    command = [sys.executable, "-m", "loadtests.guard", str(folder)]
    guard = subprocess.Popen(command, cwd=BASE_DIR, stdin=subprocess.PIPE, start_new_session=True)
    try:
        yield
    finally:
        guard.communicate()


def belongs(process: psutil.Process, folder: Path) -> bool:
    """Return True if the folder is in the environment or the command line, which other users' processes may hide."""
    with suppress(psutil.Error):
        return any(str(folder) in text for text in [*process.cmdline(), *process.environ().values()])
    return False


def runs(process: psutil.Process) -> bool:
    """Return False also for a zombie: a drill that still runs has not read its exit code, and will not now."""
    with suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def end(folder: Path) -> None:
    """Kill the processes of a folder, and remove it. PostgreSQL ends its own sessions and shared memory."""
    others = [process for process in psutil.process_iter() if process.pid != os.getpid()]
    processes = [process for process in others if belongs(process, folder)]
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGQUIT if process.name() == "postgres" else signal.SIGKILL)
    with suppress(AssertionError):  # what a kill does not end keeps no folder
        wait_until(lambda: not any(map(runs, processes)), WAIT_SECONDS)
    unmount(folder)
    shutil.rmtree(folder, ignore_errors=True)


def unmount(folder: Path) -> None:
    """Unmount the file systems that a fault mounted below a folder, also those that are still busy."""
    places = [partition.mountpoint for partition in psutil.disk_partitions(all=True)]
    for place in sorted((place for place in places if folder.resolve() in Path(place).parents), reverse=True):
        subprocess.run(["umount", "--lazy", place], check=False)


if __name__ == "__main__":
    sys.stdin.buffer.read()
    end(Path(sys.argv[1]))
