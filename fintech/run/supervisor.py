"""supervisord: started as our child, queried over its own socket, watched through its log.

Only its log shows how a process ended: events and XML-RPC omit the signal.
"""

import http.client
import os
import re
import signal
import subprocess
import sys
import time
import xmlrpc.client
from collections import defaultdict, deque
from pathlib import Path
from typing import Any, Self

import psutil
from supervisor.xmlrpc import SupervisorTransport

from fintech.run import RunError
from fintech.run.layout import Layout
from fintech.run.programs import Program, configuration

EVENT = re.compile(
    r"(?P<event>exited|success|gave up): (?P<name>\S+)"
    r"(?: \((?P<reason>.+); (?:not )?expected\)| entered \w+ state)"
)
# A process that ends this often within a minute fails permanently.
MAX_EXITS, EXITS_SECONDS = 4, 60
MAX_LOG_BYTES = 5 * 1024**2
TAIL_LINES = 15


class Supervisor:
    """The processes of one run. Leaving the `with` block stops them all, last started first."""

    def __init__(self, layout: Layout, programs: list[Program], environment: dict[str, str]) -> None:
        self.layout = layout
        self.programs = programs
        self.environment = environment
        self.log = layout.logs / "supervisord.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._read = 0  # position in the log
        self._exits: dict[str, deque[float]] = defaultdict(deque)
        self._reasons: dict[str, str] = {}

    # --- Life ----------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start supervisord itself, without any program."""
        file = self.layout.run / "supervisord.conf"
        content, texts = configuration(self.layout, self.programs)
        file.write_text(content, encoding="utf-8")
        if self.log.exists() and self.log.stat().st_size > MAX_LOG_BYTES:
            self.log.replace(self.log.with_suffix(".log.1"))
        self._read = self.log.stat().st_size if self.log.exists() else 0
        errors = self.layout.logs / "supervisord.err"
        with errors.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "supervisor.supervisord", "-c", str(file)],
                cwd=self.layout.var,
                env=self.environment | texts,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # Ctrl-C is for us: we stop the processes in order
            )
        deadline = time.monotonic() + 20
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                said = " ".join(last_lines(errors, 2)) or "no output"
                raise RunError(f"The supervisor does not start: {said}")
            time.sleep(0.05)

    def stop(self) -> None:
        """Stop everything in order and wait; supervisord kills processes that exceed their time."""
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(sum(program.stop_seconds for program in self.programs) + 20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @staticmethod
    def shut_down_leftover(layout: Layout) -> list[str]:
        """Stop the supervisord of a killed run, through its socket."""
        try:
            pid = call(layout.supervisor_socket, "getPID")
            call(layout.supervisor_socket, "shutdown")
        except (OSError, http.client.HTTPException, xmlrpc.client.Error):
            return []
        try:
            psutil.Process(pid).wait(180)
        except psutil.NoSuchProcess:
            pass
        except psutil.TimeoutExpired:
            raise RunError(f"A supervisor of an earlier run (PID {pid}) does not stop: end it first.") from None
        return [f"its supervisor and what it ran (PID {pid})"]

    # --- One process ---------------------------------------------------------------------------------------

    def start_program(self, name: str) -> None:
        try:
            call(self.layout.supervisor_socket, "startProcess", name, False)
        except xmlrpc.client.Fault as error:
            raise RunError(f"{name} cannot be started: {error.faultString}.") from None

    def watch(self) -> list[str]:
        """Return the events since the last call, as sentences. Raise RunError if a process fails permanently."""
        assert self._process is not None
        news = []
        for line in self._new_lines():
            if found := EVENT.search(line):
                news += self._take(found["event"], found["name"], found["reason"])
        if self._process.poll() is not None:
            raise RunError(f"The supervisor itself ended with {self._process.returncode}. Everything is stopped.")
        return news

    def _take(self, event: str, name: str, reason: str | None) -> list[str]:
        if event == "gave up":
            raise self._fatal(name)
        if event == "success":
            return [f"{name} is back."] if self._reasons.pop(name, None) else []
        self._reasons[name] = reason or "no reason given"
        exits = self._exits[name]
        exits.append(time.monotonic())
        while exits[0] < time.monotonic() - EXITS_SECONDS:
            exits.popleft()
        if len(exits) > MAX_EXITS:
            raise self._fatal(name)
        words = last_line(self.layout.logs / f"{name}.log")
        said = f" Its last line: {words}" if words else ""
        return [f"{name} ended ({reason}) and is started again.{said}"]

    def _fatal(self, name: str) -> RunError:
        path = self.layout.logs / f"{name}.log"
        reason = f"{self._reasons.get(name, 'it cannot be run')}, {len(self._exits[name])} times within a minute"
        tail = "\n".join(f"  {line}" for line in last_lines(path, TAIL_LINES))
        return RunError(f"{name} keeps failing ({reason}). Everything is stopped. The end of {path}:\n{tail}")

    def _new_lines(self) -> list[str]:
        with self.log.open("rb") as file:
            file.seek(self._read)
            content = file.read()
        whole = content[: content.rfind(b"\n") + 1]
        self._read += len(whole)
        return whole.decode(errors="replace").splitlines()

    def _answers(self) -> bool:
        try:
            call(self.layout.supervisor_socket, "getState")
        except (OSError, http.client.HTTPException):
            return False
        return True


def call(socket: Path, method: str, *arguments: Any) -> Any:
    transport = SupervisorTransport(None, None, f"unix://{socket}")
    try:
        with xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport) as server:
            return getattr(server.supervisor, method)(*arguments)
    finally:
        transport.close()


def last_lines(path: Path, count: int) -> list[str]:
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 16_384))
            text = file.read().decode(errors="replace")
    except FileNotFoundError:
        return []
    return [line.rstrip()[:500] for line in text.splitlines() if line.strip()][-count:]


def last_line(path: Path) -> str:
    return (last_lines(path, 1) or [""])[0]
