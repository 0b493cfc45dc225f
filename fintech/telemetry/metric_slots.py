"""Metrics that outlive their process: the files are named by a slot, not by a process id.

prometheus_client's multi-process mode keeps one set of files per process id, and files of dead processes accumulate.
Here each process of a role takes the lowest free slot (`web-0`, `web-1`, ...) and continues the files of the previous
process in it, so their number is the largest number of concurrent processes. A kernel lock that lasts as long as the
process marks the owner of a slot; SIGKILL releases it.

Files have an `epoch`: the id of the folder's lifetime. Payments are stored with the slot and epoch of the process that
settled them, so counters can be set from the rows after a crash (`payments/storage/group_commit.py`).
"""

import fcntl
import os
import sys
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import prometheus_client.values
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from fintech import env

MAX_SLOTS = 1024


@dataclass(frozen=True)
class Slot:
    """The place of one process. `epoch` marks since when its counters count."""

    name: str
    epoch: uuid.UUID
    lock: int = field(repr=False)  # an open file: the lock lasts as long as it is open

    @property
    def number(self) -> int:
        """Return the number of the slot, which no other process of the role has."""
        return int(self.name.rpartition("-")[2])


_current: Slot | None = None


def folder_of(role: str) -> Path:
    """Return the folder of a role's metrics files, which does not exist before its first process."""
    return env.runtime_dir() / "metrics" / role


def directory(role: str) -> Path:
    """Return the folder of a role's metrics files, and create it if necessary."""
    path = folder_of(role)
    path.mkdir(parents=True, exist_ok=True)
    return path


def read_epoch(role: str) -> uuid.UUID:
    """Return the id of this folder's lifetime. Raise FileNotFoundError if no process has created it."""
    return uuid.UUID((folder_of(role) / "epoch").read_text())


def epoch(role: str) -> uuid.UUID:
    """Return the id of this folder's lifetime, the same for all its processes; the first caller creates it."""
    path = directory(role) / "epoch"
    if not path.exists():
        draft = path.with_name(f"epoch.{os.getpid()}")
        draft.write_text(str(uuid.uuid4()))
        try:
            os.link(draft, path)  # fails if another process was first: its epoch counts
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    return read_epoch(role)


def prepare(role: str) -> None:
    """Drop gauges of dead processes before the first process of a role starts. Start over if a file is torn."""
    folder = directory(role)
    for path in folder.glob("gauge_live*.db"):
        path.unlink()
    try:
        for path in folder.glob("*.db"):
            _check_length(path)
        list(FilesCollector(folder).collect())
        epoch(role)
    except OSError:
        raise
    except Exception:  # a power failure can tear a memory-mapped file in any way
        for path in [*folder.glob("*.db"), folder / "epoch"]:
            path.unlink(missing_ok=True)


def note_start(role: str) -> None:
    """Store when the first process of a role started. It exports nothing itself, and outlives all that do."""
    path = directory(role) / "started"
    draft = path.with_name("started.new")
    draft.write_text(str(time.time()))
    draft.replace(path)


def _check_length(path: Path) -> None:
    """Check the length of the used part, which a file begins with: 0, or from its own 8 bytes to the whole file."""
    with path.open("rb") as file:
        used = int.from_bytes(file.read(4), sys.byteorder, signed=True)
    if used and not 8 <= used <= path.stat().st_size:
        raise ValueError(f"{path.name} is torn")


def claim(role: str, *, shared: bool) -> Slot:
    """Take the lowest free slot of `role` for the rest of this process's life, before any metric exists.

    `shared` metrics are in files that `render` merges; all others in memory, for a process with its own port.
    """
    global _current  # noqa: PLW0603 - a process has one slot
    if _current is not None:
        raise RuntimeError(f"this process already has slot {_current.name}")
    folder = directory(role)
    for number in range(MAX_SLOTS):
        name = f"{role}-{number}"
        lock = os.open(folder / f"{name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if not _try_lock(lock):
            os.close(lock)
            continue
        os.truncate(lock, 0)
        os.pwrite(lock, str(os.getpid()).encode(), 0)
        # Only their process exports counters in memory, so each of its slots has its own epoch.
        _current = Slot(name=name, epoch=epoch(role if shared else name), lock=lock)
        if shared:
            for path in folder.glob(f"gauge_live*_{name}.db"):
                path.unlink()  # payments in progress of the previous process ended with it
            os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)
            prometheus_client.values.ValueClass = _collecting(prometheus_client.values.MultiProcessValue(_slot_name))
        return _current
    raise RuntimeError(f"all {MAX_SLOTS} slots of {role} are taken")


def _collecting(base: Any) -> Any:
    """Return prometheus_client's class of values with increments that are written once a turn of the event loop.

    A payment increments a dozen of them, and writing each at once took a tenth of its time. Threads write at once.
    """
    from fintech.server import cooperation  # the metrics exporter needs neither a loop nor a database's driver

    changed: list[Any] = []

    class Value(base):
        _collected = 0.0

        def inc(self, amount: float) -> None:
            if not cooperation.on_loop():
                super().inc(amount)
                return
            if not changed:
                cooperation.after_turn(write)
            if not self._collected:
                changed.append(self)
            self._collected += amount

    def write() -> None:
        values = changed.copy()
        changed.clear()
        for value in values:
            amount, value._collected = value._collected, 0.0
            if amount:
                base.inc(value, amount)

    return Value


def forget_gauges(pid: int) -> None:
    """Remove the live gauges of a web process that has ended, however it ended, unless its slot has a new owner."""
    folder = directory("web")
    for path in folder.glob("web-*.lock"):
        with path.open("r+b") as lock:
            if lock.read() == str(pid).encode() and _try_lock(lock.fileno()):
                for gauges in folder.glob(f"gauge_live*_{path.stem}.db"):
                    gauges.unlink()


def _try_lock(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _slot_name() -> str:
    assert _current is not None
    return _current.name


def slot() -> Slot:
    """Return this process's slot; a command without a slot gets one whose metrics are not scraped."""
    return _current or claim("command", shared=False)


class EpochCollector(Collector):
    """`metrics_epoch_info{epoch="..."}`: selects the rows to compare with the counters beside it.

    `life` is a role whose processes share their files, or the slot of a process with its own files.
    """

    def __init__(self, life: str) -> None:
        self._life = life

    def collect(self) -> Iterator[Metric]:
        help_text = "The epoch of the metrics files of these counters."
        with suppress(FileNotFoundError):  # before the first process
            yield InfoMetricFamily("metrics_epoch", help_text, value={"epoch": str(read_epoch(self._life))})


class StartCollector(Collector):
    """`web_start_time_seconds`: when the web server started, for the alert on one that keeps restarting."""

    def __init__(self, role: str) -> None:
        self._role = role

    def collect(self) -> Iterator[Metric]:
        help_text = "When the first process started, since 1970. The processes that it starts do not change it."
        with suppress(FileNotFoundError):  # before the first start
            started = float((folder_of(self._role) / "started").read_text())
            yield GaugeMetricFamily(f"{self._role}_start_time_seconds", help_text, value=started)


class FilesCollector(Collector):
    """The content of the files, always summed in the same order: in another order a sum of floats may differ slightly,
    and a counter that falls slightly looks like a restart.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def collect(self) -> Iterable[Metric]:
        return MultiProcessCollector.merge(sorted(str(path) for path in self._folder.glob("*.db") if _is_begun(path)))


def _is_begun(path: Path) -> bool:
    """Return True if the file has content. The new gauges of a starting worker are empty for a moment."""
    try:
        return path.stat().st_size > 0
    except FileNotFoundError:
        return False


def render(role: str) -> bytes:
    """Return the merged metrics of all processes of a role, in Prometheus' text format. It writes no file."""
    registry = CollectorRegistry()
    registry.register(FilesCollector(folder_of(role)))
    registry.register(EpochCollector(role))
    registry.register(StartCollector(role))
    return generate_latest(registry)
