"""Progress and result in the terminal: one line that changes, then sentences."""

import sys
import time
from typing import Any

from loadtests.run.conductor import Result
from loadtests.run.summary import lately, percentiles

CLEAR_LINE = "\r\x1b[K"
TERMINAL_SECONDS, PIPE_SECONDS = 0.5, 10.0  # between two lines of progress


class Terminal:
    def __init__(self) -> None:
        self._live = sys.stdout.isatty()
        self._shown = time.monotonic()

    def say(self, text: str) -> None:
        print(f"{CLEAR_LINE if self._live else ''}{text}", flush=True)

    def progress(self, elapsed: float, result: Result, backlog: int) -> None:
        """Show the last seconds of a running test."""
        if time.monotonic() - self._shown < (TERMINAL_SECONDS if self._live else PIPE_SECONDS):
            return
        self._shown = time.monotonic()
        recent, rate = lately(result.samples[-5000:], elapsed)
        p95 = percentiles([sample.latency_ms for sample in recent])["p95"]
        failed = sum(1 for sample in recent if sample.error)
        waiting = f", {backlog} waiting" if backlog else ""
        text = f"{elapsed:5.0f} s  {rate:6.1f} answers/s  p95 {p95:.0f} ms  {failed} failed{waiting}"
        print(f"{CLEAR_LINE}{text}" if self._live else text, end="" if self._live else "\n", flush=True)

    def show(self, summary: dict[str, Any]) -> None:
        rate, latency, requests = summary["rate"], summary["latency_ms"], summary["requests"]
        self.say(f"Rate      {rate['held']:g} requests/s held of {rate['asked']:g} ({rate['held_ratio']:.1%})")
        self.say(f"Latency   p50 {latency['p50']:.0f} ms, p95 {latency['p95']:.0f} ms, p99 {latency['p99']:.0f} ms")
        self.say(f"Errors    {requests['failed']} ({summary['error_rate']:.2%}), {requests['not_sent']} not sent")
        for step in summary.get("steps", []):
            held = "held" if step["held"] else "broke"
            rps, latency = step["rps"], step["summary"]["latency_ms"]
            self.say(f"  {rps:8.1f} requests/s {held:>5}: p95 {latency['p95']:.0f} ms")
        for threshold in summary["thresholds"]:
            result = "held" if threshold["held"] else "BROKEN"
            self.say(f"{threshold['name']} {threshold['limit']:g}: {threshold['value']:g}, {result}")
        for warning in summary["warnings"]:
            self.say(f"warning: {warning}")
