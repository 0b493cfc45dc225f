"""`python -m loadtests.quiet --hours 24 --speed 30`: measure how silent the alerts are."""

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from fintech.run import interruption
from loadtests.drill.monitoring import is_installed
from loadtests.own_platform import own_folder
from loadtests.quiet import document, session
from loadtests.quiet.hours import MIXTURES
from loadtests.run import LoadTestError
from loadtests.run.preflight import check_output

MAX_SPEED = 40  # above it, a minute of the rules would not contain three scrapes


def hours(text: str) -> float:
    value = float(text)
    if not 0 < value <= 1000:
        raise argparse.ArgumentTypeError(f"{text} is not a number of hours up to 1000")
    return value


def speed(text: str) -> float:
    value = float(text)
    if not 1 <= value <= MAX_SPEED:
        raise argparse.ArgumentTypeError(f"{text} is not from 1 to {MAX_SPEED}")
    return value


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m loadtests.quiet",
        description="Run ordinary traffic with ordinary disturbances on a platform of its own, and count the alerts.",
        epilog="Exit codes: 0, no alert fired and none was pending for over two minutes; 1, one did; 2, nothing ran.",
    )
    parser.add_argument("--hours", type=hours, default=24.0, help="hours of the rules' time (24)")
    parser.add_argument("--speed", type=speed, default=20.0, help="how many times faster than the clock (20)")
    parser.add_argument("--traffic", choices=MIXTURES, default="mixed", help="the kind of traffic (mixed)")
    parser.add_argument("--out", type=Path, help="the folder of quiet.json and quiet.md; omit it to only print")
    return parser.parse_args(words)


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def main() -> int:
    options = arguments()
    if not is_installed():
        sys.stderr.write("error: This needs Prometheus and Alertmanager, see README.md.\n")
        return 2
    try:
        if options.out:
            check_output(options.out)
    except LoadTestError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    interruption.install()
    try:
        with own_folder() as folder:
            place = Path(tempfile.mkdtemp(dir=folder))
            result = session.run(place, options.hours, options.speed, options.traffic, say)
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted; the platform is stopped.\n")
        return 130
    say(document.row(result))
    if options.out:
        document.add(result, options.out)
    return 0 if document.is_quiet(result) else 1


if __name__ == "__main__":
    sys.exit(main())
