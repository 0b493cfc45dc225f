"""Run plans with Locust, in this process or with workers, and collect their samples."""

import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from itertools import takewhile
from typing import Any

import gevent
from locust.env import Environment
from locust.runners import STATE_MISSING, MasterRunner, Runner

from loadtests.run import LoadTestError
from loadtests.run.merchants import attach
from loadtests.run.pacer import HALT_SECONDS
from loadtests.run.samples import Sample
from loadtests.run.shapes import Plan
from loadtests.run.thresholds import Process

POLL_SECONDS = 0.1
START_SECONDS = 30.0  # for workers of this machine; merchants also have the time that SPAWN_RATE takes
REMOTE_START_SECONDS = 300.0  # until workers from elsewhere have connected
LOST_SECONDS = 10.0  # after which a worker that does not report is lost
SPAWN_RATE = 100  # merchants a second


@dataclass
class Result:
    """The samples of one plan. `seconds` is its duration, or the time until Ctrl-C.

    `planned` requests were due in this time: those of lost processes have no samples.
    """

    seconds: float = 0.0
    planned: int = 0
    samples: list[Sample] = field(default_factory=list)
    processes: list[Process] = field(default_factory=list)
    lost: int = 0


Progress = Callable[[float, Result, int], None]


class Conductor:
    """`children` are workers of this machine; without workers, the merchants run in this process."""

    def __init__(self, environment: Environment, runner: Runner, children: list["subprocess.Popen[bytes]"]) -> None:
        self.runner, self._children = runner, children
        self.interrupted = False
        self._result = Result()
        self._backlogs: dict[str, int] = {}
        self._waiting: set[str] = set()
        runner.register_message("samples", self._on_samples)
        runner.register_message("finished", self._on_finished)
        if not isinstance(runner, MasterRunner):
            attach(environment, runner)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._interrupt)

    def start(self, merchants: int, workers: int) -> None:
        """Wait until all workers have connected and all merchants wait for a plan."""
        if isinstance(self.runner, MasterRunner):
            seconds = START_SECONDS if self._children else REMOTE_START_SECONDS
            self._wait(lambda: len(self._nodes()) >= workers, seconds, f"{workers} workers have not connected")
        self.runner.start(merchants, spawn_rate=min(SPAWN_RATE, merchants))
        seconds = START_SECONDS + merchants / SPAWN_RATE
        self._wait(lambda: self.runner.user_count >= merchants, seconds, "the merchants have not started")

    def run(self, plan: Plan, progress: Progress) -> Result:
        """Run one plan to its end, or until Ctrl-C."""
        result = self._result = Result(seconds=plan.duration)
        nodes = self._nodes()
        self._waiting, self._backlogs = set(nodes), {}
        for index, node in enumerate(nodes):
            self.runner.send_message("plan", {"plan": asdict(plan), "index": index, "count": len(nodes)}, node)
        began = time.monotonic()
        deadline = began + plan.duration + plan.drain + LOST_SECONDS
        halted = False
        while self._waiting and time.monotonic() < deadline:
            gevent.sleep(POLL_SECONDS)
            progress(time.monotonic() - began, result, sum(self._backlogs.values()))
            if self.interrupted and not halted:
                halted = True
                result.seconds = min(plan.duration, time.monotonic() - began)
                self.runner.send_message("halt")
                deadline = time.monotonic() + HALT_SECONDS + LOST_SECONDS
        result.lost = len(self._waiting)
        result.planned = sum(1 for _ in takewhile(lambda at: at < result.seconds, plan.due_times()))
        result.samples.sort(key=lambda sample: sample.due_seconds)
        return result

    def stop(self) -> None:
        self.runner.quit()
        for child in self._children:
            try:
                child.wait(timeout=5)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()

    def _nodes(self) -> list[str]:
        if not isinstance(self.runner, MasterRunner):
            return ["local"]
        return [node.id for node in self.runner.clients.all if node.state != STATE_MISSING]

    def _wait(self, condition: Callable[[], bool], seconds: float, problem: str) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            gevent.sleep(POLL_SECONDS)
            if self.interrupted:
                raise LoadTestError("Interrupted before the first request.")
            if time.monotonic() > deadline or any(child.poll() is not None for child in self._children):
                raise LoadTestError(f"The load did not start: {problem}.")

    def _on_samples(self, msg: Any, **_: object) -> None:
        if msg.node_id in self._waiting:
            self._result.samples += [Sample(*row) for row in msg.data["rows"]]
            self._backlogs[msg.node_id] = msg.data["backlog"]

    def _on_finished(self, msg: Any, **_: object) -> None:
        self._waiting.discard(msg.node_id)
        self._result.processes.append(Process(**msg.data))

    def _interrupt(self, *_: object) -> None:
        self.interrupted = True
