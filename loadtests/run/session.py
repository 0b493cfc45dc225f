"""One load test from its start to its files."""

import logging
from argparse import Namespace
from datetime import UTC, datetime
from typing import Any

from loadtests.run.conductor import Conductor, Result
from loadtests.run.limit import Step, as_row, at_rate, find_limit, rate_that_held, with_defaults
from loadtests.run.output import write_results
from loadtests.run.processes import make_environment, make_runner
from loadtests.run.shapes import Plan
from loadtests.run.summary import summarize
from loadtests.run.terminal import Terminal
from loadtests.run.thresholds import LATE_MS, Thresholds, warnings

INTERRUPTED = 130  # as a shell reports a program that Ctrl-C ended


class Session:
    """A conductor with its options; it adds up the samples of one or more plans."""

    def __init__(self, chosen: Namespace, conductor: Conductor) -> None:
        self.chosen, self.conductor = chosen, conductor
        self.terminal = Terminal()
        self.total = Result()
        self.ends: list[float] = []  # of the plans
        self.warnings: list[str] = []
        limits = Thresholds(chosen.max_error_rate, chosen.max_p95_ms, chosen.min_rate_held)
        self.thresholds = with_defaults(limits) if chosen.find_limit else limits
        self.began = datetime.now(UTC)

    def run_plan(self, rps: float, duration: float) -> tuple[Result, list[str]]:
        """Run one plan, and return its result and its warnings."""
        result = self.conductor.run(Plan(rps, duration, self.chosen.shape, self.chosen.drain), self.terminal.progress)
        for sample in result.samples:
            self.total.samples.append(sample._replace(due_seconds=self.total.seconds + sample.due_seconds))
        self.total.seconds += result.seconds
        self.ends.append(self.total.seconds)
        self.total.planned += result.planned
        self.total.processes = result.processes
        self.total.lost += result.lost
        found = warnings_of(result, self.chosen.workers)
        self.warnings += at_rate(rps, found) if self.chosen.find_limit else found
        return result, found

    def measure(self, rps: float) -> Step | None:
        """Run one step of the search for the limit; None if Ctrl-C ended it."""
        result, found = self.run_plan(rps, self.chosen.step_duration)
        if self.conductor.interrupted:
            return None
        summary = summarize(result.samples, result.seconds, result.planned, result.lost)
        step = Step(rps, summary, self.thresholds.check(summary), found)
        state = "held" if step.held else "did not hold"
        self.terminal.say(f"{rps:.1f} requests/s {state} (p95 {summary['latency_ms']['p95']:.0f} ms)")
        return step

    def summarize(self, steps: list[Step]) -> dict[str, Any]:
        chosen, total = self.chosen, self.total
        figures = summarize(total.samples, total.seconds, total.planned, total.lost, self.ends)
        search = {
            "limit": rate_that_held(steps),
            "step_seconds": chosen.step_duration,
            "steps": [as_row(step) for step in steps],
        }
        return {
            "started_at": self.began.isoformat(timespec="seconds"),
            "base_url": chosen.base_url,
            "shape": chosen.shape,
            "rps": chosen.rps,
            "seconds": round(total.seconds, 3),
            "workers": chosen.workers,
            "processes": chosen.expect_workers or chosen.processes,
            "interrupted": self.conductor.interrupted,
            **figures,
            # The last step of a search breaks a threshold on purpose.
            "thresholds": [] if chosen.find_limit else self.thresholds.check(figures),
            "load_processes": [process._asdict() for process in sorted(total.processes)],
            "warnings": self.warnings,
            **(search if chosen.find_limit else {}),
        }


def warnings_of(result: Result, workers: int) -> list[str]:
    own = max((process.lag_ms for process in result.processes), default=0.0)
    late = sum(1 for sample in result.samples if sample.late_ms > LATE_MS + own) / max(1, len(result.samples))
    return warnings(result.processes, late, workers, planned=result.planned, lost=result.lost)


def run(chosen: Namespace) -> int:
    """Run the test, write its files, and return the exit code."""
    logging.getLogger("locust").setLevel(logging.ERROR)
    environment = make_environment(chosen)
    runner, children = make_runner(environment, chosen)
    conductor = Conductor(environment, runner, children)
    try:
        conductor.start(chosen.workers, chosen.expect_workers or chosen.processes)
        session = Session(chosen, conductor)
        steps: list[Step] = []
        if chosen.find_limit:
            steps = find_limit(chosen.rps, session.measure)
        else:
            session.run_plan(chosen.rps, chosen.duration)
    finally:
        conductor.stop()
    return finish(session, steps)


def finish(session: Session, steps: list[Step]) -> int:
    summary = session.summarize(steps)
    session.terminal.show(summary)
    write_results(session.chosen.output, summary, session.total.samples)
    session.terminal.say(f"Files: {session.chosen.output}/load_report.html, load_summary.json, load_samples.csv")
    if session.conductor.interrupted:
        return INTERRUPTED
    if session.chosen.find_limit:
        limit = summary["limit"]
        session.terminal.say(f"The limit is {limit:.1f} requests/s." if limit else "Not even the first rate held.")
        return 0 if limit else 1
    if summary["thresholds"] and not summary["complete"]:
        session.terminal.say("The load was not complete, so no threshold held.")
        return 1
    return 0 if all(threshold["held"] for threshold in summary["thresholds"]) else 1
