"""`python -m loadtests.quiet --hours 24 --speed 30`: measure how silent the alerts are."""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from loadtests.command import run_command, say
from loadtests.own_platform import own_folder
from loadtests.quiet import document, session
from loadtests.quiet.hours import MIXTURES

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
        epilog="Exit codes: 0, no alert fired or was pending for over two minutes, and Prometheus always showed them;"
        " 1, not so; 2, nothing ran.",
    )
    parser.add_argument("--hours", type=hours, default=24.0, help="hours of the rules' time (24)")
    parser.add_argument("--speed", type=speed, default=20.0, help="how many times faster than the clock (20)")
    parser.add_argument("--traffic", choices=MIXTURES, default="mixed", help="the kind of traffic (mixed)")
    parser.add_argument("--out", type=Path, help="the folder of quiet.json and quiet.md; omit it to only print")
    return parser.parse_args(words)


def measure(options: argparse.Namespace) -> int:
    with own_folder() as folder:
        place = Path(tempfile.mkdtemp(dir=folder))
        result = session.run(place, options.hours, options.speed, options.traffic, say)
    say(document.row(result))
    if options.out:
        document.add(result, options.out)
    return 0 if document.is_quiet(result) else 1


def main() -> int:
    options = arguments()
    interrupted = "Interrupted; the platform is stopped."
    return run_command(partial(measure, options), out=options.out, interrupted=interrupted)


if __name__ == "__main__":
    sys.exit(main())
