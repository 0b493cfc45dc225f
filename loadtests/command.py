"""Begin and end the commands that run a platform and its monitoring: `drill`, `quiet` and `prove`."""

import sys
import time
from collections.abc import Callable
from pathlib import Path

from fintech.run import interruption
from loadtests.drill.monitoring import is_installed
from loadtests.run import LoadTestError
from loadtests.run.preflight import check_output


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def run_command(work: Callable[[], int], *, out: Path | None, interrupted: str) -> int:
    """Run `work` and return its exit code: 2 if it cannot begin, and 130 with the text `interrupted` after Ctrl-C."""
    try:
        if not is_installed():
            raise LoadTestError("This needs Prometheus and Alertmanager, see README.md.")
        if out is not None:
            check_output(out)
    except LoadTestError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    interruption.install()
    try:
        return work()
    except KeyboardInterrupt:
        sys.stderr.write(f"{interrupted}\n")
        return 130
