"""Real processes for tests. Each is stopped by its starter, by its own process group.

with running_gateway(tmp_path) as gateway, Platform(tmp_path, gateway=gateway) as platform:
    platform.request("POST", "/v1/transactions", body, api_key=key, key="k-1")
    platform.kill_one_worker()
    assert platform.scrape()['transactions_total{status="succeeded"}'] == 1
"""

import http.client
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from email.message import Message
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol, Self, TypeVar

import psutil

BASE_DIR = Path(__file__).resolve().parents[2]
# `make prove`: slow tests run in full; `make test-slow` in a short form.
IN_FULL = os.environ.get("PROVE") == "1"
# A test that hangs on a busy machine ends, too.
MOST_SLOWNESS = 10
PAUSES_PER_LOOK = 5
LONGEST_PAUSE_SECONDS = 0.5
# What takes long is looked at less often: one look in each twentieth of the time.
LOOKS_PER_WAIT = 20

T = TypeVar("T")
# The range is below that of outgoing connections: one of them could take a port before its server does. Processes that
# run tests at the same time (pytest-xdist) share no port.
PROCESS = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
PROCESSES = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
PORTS = range(10_000 + PROCESS, 20_000, PROCESSES)
# Never seeded: two runs of the tests may share a machine, and a seed.
_chance = random.SystemRandom()
_given: set[int] = set()


def free_port() -> int:
    """Return a port that nothing listens on, and that was not returned before."""
    while True:
        port = _chance.choice(PORTS)
        with socket.socket() as listener, suppress(OSError):
            listener.bind(("127.0.0.1", port))
            if port not in _given:
                _given.add(port)
                return port


class TooLate(AssertionError):
    """Something did not happen in time."""


def slowness() -> float:
    """Return how many programs want each core: on a busy machine, everything takes so many times as long."""
    return min(MOST_SLOWNESS, max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1)))


def is_over(began: float, timeout: float) -> bool:
    """Return True if `timeout` seconds of a machine without other work have passed."""
    waited = time.monotonic() - began
    return waited > timeout and waited > timeout * slowness()


def wait_until(
    condition: Callable[[], T | None],
    timeout: float = 10,
    what: str | Callable[[], str] = "the condition",
    *,
    interval: float = 0.05,
    strict: bool = False,
) -> T:
    """Return the result of `condition` once it is true; otherwise raise TooLate with `what` is missing.

    A callable `what` describes the final state. `timeout` is for a machine without other work, unless it is `strict`.
    The pauses are at least `interval`, and longer after looks that take long, which would keep a core busy, and,
    unless it is `strict`, in a wait that takes long.
    """
    began = looked = time.monotonic()
    while not (answer := condition()):
        now = time.monotonic()
        if now - began > timeout if strict else is_over(began, timeout):
            raise TooLate(f"after {timeout:g} s still not: {what() if callable(what) else what}")
        patience = 0 if strict else (now - began) / LOOKS_PER_WAIT
        time.sleep(max(interval, min(LONGEST_PAUSE_SECONDS, max(PAUSES_PER_LOOK * (now - looked), patience))))
        looked = time.monotonic()
    return answer


class Load:
    """Functions that run in threads while the block runs; they end soon after `stopped` is set.

    The block raises their exceptions at its end.
    """

    def __init__(self, works: Iterable[Callable[[], None]]) -> None:
        self.stopped = threading.Event()
        self._works = list(works)
        self._pool = ThreadPoolExecutor(len(self._works))
        self._running: list[Future[None]] = []

    def __enter__(self) -> Self:
        self._running = [self._pool.submit(work) for work in self._works]
        return self

    def __exit__(self, *_: object) -> None:
        self.stopped.set()
        self._pool.shutdown()
        for work in self._running:
            work.result()


class Reply(NamedTuple):
    status: int
    body: Any
    headers: Message


def request(
    port: int,
    method: str,
    path: str,
    body: Any = None,
    *,
    headers: Mapping[str, str] | None = None,
    timeout: float = 30,
) -> Reply:
    """Send one HTTP request to loopback. Redirects are not followed; bytes are sent unchanged.

    Raise OSError or HTTPException without an answer.
    """
    content = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request(method, path, content, {"Content-Type": "application/json", **(headers or {})})
        response = connection.getresponse()
        answer = response.read()
        is_json = answer and "json" in response.headers.get("Content-Type", "")
        return Reply(response.status, json.loads(answer) if is_json else answer, response.headers)
    finally:
        connection.close()


def answers(port: int, path: str) -> bool:
    """Return True if a server there answers 200."""
    try:
        return request(port, "GET", path, timeout=5).status == 200
    except (OSError, http.client.HTTPException):
        return False


def scrape(port: int) -> dict[str, float]:
    """Return the samples of `/metrics`: `{'transactions_total{status="failed"}': 3.0}`, labels in order of name.

    Our programs write the samples in this form. prometheus_client's parser takes forty times as long, and some tests
    scrape several times a second.
    """
    lines = request(port, "GET", "/metrics").body.decode().split("\n")
    samples = [line.rpartition(" ") for line in lines if line and not line.startswith("#")]
    return {name: float(value) for name, _, value in samples}


class Program:
    """A process in its own group. Its output is in `log`."""

    def __init__(self, command: Sequence[str | Path], *, log: Path, env: Mapping[str, str] | None = None) -> None:
        self.command = [str(word) for word in command]
        self.log = log
        self.env = {**os.environ, "PYTHONUNBUFFERED": "1", **(env or {})}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, f"{self.command} was not started"
        return self._process

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def output(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""

    def start(self, *, ready: Callable[[], bool] | None = None, timeout: float = 60) -> None:
        """Start it, and wait until `ready`. If it ends before, raise AssertionError with its output."""
        assert not self.alive, f"{self.command} runs already"
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command,
                cwd=BASE_DIR,
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        if ready is not None:
            self.wait_until_ready(ready, timeout=timeout)

    def wait_until_ready(self, ready: Callable[[], bool], *, timeout: float = 60) -> None:
        began = time.monotonic()
        while not ready():
            trouble = f"did not get ready in {timeout:g} s" if is_over(began, timeout) else ""
            if not self.alive:
                trouble = f"ended with {self.process.returncode}"
            if trouble:
                self.kill()
                raise AssertionError(f"{' '.join(self.command)} {trouble}:\n{self.output()[-4000:]}")
            time.sleep(0.05)

    def stop(self, *, number: int = signal.SIGTERM, timeout: float = 20) -> int:
        """Stop it and return its exit code. Remaining processes of its group are killed, at the latest
        after `timeout`.
        """
        with suppress(ProcessLookupError):
            self.process.send_signal(number)
        try:
            return self.process.wait(timeout * slowness())
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.command} did not stop in {timeout:g} s:\n{self.output()[-4000:]}") from None
        finally:
            self.kill()

    def kill(self) -> None:
        """Send SIGKILL to the whole group: no clean-up of any kind."""
        if self._process is not None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


@contextmanager
def running(
    command: Sequence[str | Path],
    env: Mapping[str, str] | None = None,
    *,
    log: Path,
    ready: Callable[[], bool] | None = None,
    timeout: float = 60,
) -> Iterator[Program]:
    """Run the program while the block runs; then send SIGTERM, and SIGKILL to the rest of its group."""
    program = Program(command, log=log, env=env)
    try:
        program.start(ready=ready, timeout=timeout)
        yield program
    finally:
        if program.alive:
            program.stop()
        else:
            program.kill()


class Gateway(Protocol):
    """The data of the gateway simulator that a platform needs (loadtests/tests/simulator.py)."""

    @property
    def url(self) -> str: ...

    token: str


class Platform:
    """gunicorn, the metrics exporter and the worker, against the session's database.

    `env` adds to the session's environment. Ports are random and kept across restarts. `platform.web`, `.metrics` and
    `.worker` are `Program`s that can be stopped, killed and started one by one; `start` starts the missing ones.
    """

    def __init__(
        self,
        directory: Path,
        *,
        gateway: Gateway | None = None,
        workers: int = 2,
        worker: bool = True,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.directory = directory
        self.port, self.metrics_port, self.worker_port = free_port(), free_port(), free_port()
        self.env = {
            "BIND": f"127.0.0.1:{self.port}",
            "METRICS_BIND": f"127.0.0.1:{self.metrics_port}",
            "WORKER_METRICS_BIND": f"127.0.0.1:{self.worker_port}",
            "WEB_METRICS_URL": f"http://127.0.0.1:{self.metrics_port}/metrics",
            "WEB_CONCURRENCY": str(workers),
            "RUNTIME_DIR": str(directory / "runtime"),
            "THROTTLE_RATE": "100000",
            "THROTTLE_BURST": "100000",
            **({"GATEWAY_URL": gateway.url, "GATEWAY_TOKEN": gateway.token} if gateway else {}),
            **(env or {}),
        }
        python = sys.executable
        self.web = self._program("web", python, "-m", "gunicorn", "-c", "fintech/server/gunicorn.py", "fintech.wsgi")
        self.metrics = self._program("metrics", python, "-m", "fintech.telemetry.metrics_server")
        self.worker = self._program("worker", python, "manage.py", "worker") if worker else None

    def _program(self, name: str, *command: str) -> Program:
        return Program(command, log=self.directory / f"{name}.log", env=self.env)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start the missing programs, and wait until they answer."""
        places = [(self.web, self.port, "/health"), (self.metrics, self.metrics_port, "/health")]
        if self.worker is not None:
            places.append((self.worker, self.worker_port, "/metrics"))
        places = [place for place in places if not place[0].alive]
        for program, _, _ in places:
            program.start()
        for program, port, path in places:
            program.wait_until_ready(partial(answers, port, path))

    def stop(self) -> None:
        """Stop all at once, because each may need some time."""
        programs = (self.web, self.worker, self.metrics)
        with ThreadPoolExecutor() as threads:
            list(threads.map(Program.stop, [program for program in programs if program is not None and program.alive]))

    def kill(self) -> None:
        for program in (self.web, self.worker, self.metrics):
            if program is not None:
                program.kill()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.stop()
        finally:
            self.kill()

    def worker_pids(self) -> list[int]:
        """Return the current PIDs of gunicorn's workers."""
        return [child.pid for child in psutil.Process(self.web.pid).children()]

    def kill_one_worker(self) -> int:
        """Kill a random gunicorn worker by SIGKILL and return its PID. gunicorn starts another by itself."""
        pid = _chance.choice(wait_until(self.worker_pids, what="gunicorn has workers"))
        os.kill(pid, signal.SIGKILL)
        return pid

    def scrape(self, port: int | None = None) -> dict[str, float]:
        """Return the samples of the web processes, or of another port (`worker_port`)."""
        return scrape(port or self.metrics_port)

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        api_key: str | None = None,
        key: str | None = None,
        timeout: float = 30,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """One HTTP call to the web service, with an API key and an idempotency key."""
        sent = dict(headers or {})
        if api_key is not None:
            sent["Authorization"] = f"Bearer {api_key}"
        if key is not None:
            sent["Idempotency-Key"] = key
        return request(self.port, method, path, body, headers=sent, timeout=timeout)
