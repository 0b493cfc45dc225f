"""The options of the load test. A wrong one ends the program with one sentence and exit code 2."""

import argparse
import os
from pathlib import Path
from typing import NoReturn
from urllib.parse import urlsplit

from loadtests.argument_types import count, not_negative, positive, share
from loadtests.run.shapes import SHAPES

EPILOG = """Exit code 0: the thresholds held. 1: one broke. 2: the test could not begin. 130: Ctrl-C ended it; its files
are complete. docs/load-testing.md explains the files and the options."""


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message[0].upper()}{message[1:]} (--help lists the options).\n")


def base_url(text: str) -> str:
    try:
        parts = urlsplit(text)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # an invalid port
        usable = False
    if not usable or parts.query or parts.fragment:
        raise argparse.ArgumentTypeError(f"{text} is not an address such as http://localhost:5000")
    return text.rstrip("/")


def default_url() -> str:
    """Return the address of `make run`, which uses BASE_PORT too."""
    return f"http://127.0.0.1:{os.environ.get('BASE_PORT') or 5000}"


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = Parser(
        prog="python -m loadtests.run",
        description="Send requests of merchants at a controlled rate, and report how the service answered.",
        epilog=EPILOG,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--base-url", type=base_url, default=default_url(), help="the service (default: %(default)s)")
    key_file = Path(os.environ.get("API_KEY_FILE", "var/secrets/api_key"))
    add("--api-key-file", type=Path, default=key_file, help="a file with the API key (default: %(default)s)")
    add("--rps", type=positive, default=12.0, help="requests per second, the highest rate of the shape (12)")
    add("--duration", type=positive, default=180.0, help="seconds (180)")
    add("--shape", choices=SHAPES, default="steady", help="how the rate changes (steady)")
    add("--workers", type=count, default=30, help="simulated merchants: requests in progress at once (30)")
    add("--drain", type=not_negative, default=10.0, help="seconds for the last answers (10)")
    add("--output", type=Path, default=Path("load_output"), help="the folder of the results (load_output)")

    limits = parser.add_argument_group("thresholds (exit code 1 if one is broken)")
    limits.add_argument("--max-error-rate", type=share, help="the highest share of failed requests, such as 0.01")
    limits.add_argument("--max-p95-ms", type=positive, help="the highest 95th percentile of the latency")
    limits.add_argument("--min-rate-held", type=share, help="the lowest share of the asked rate, such as 0.98")

    find = parser.add_argument_group("search for the limit")
    find.add_argument("--find-limit", action="store_true", help="raise the rate from --rps until a threshold breaks")
    find.add_argument("--step-duration", type=positive, default=20.0, help="seconds of each rate (20)")

    spread = parser.add_argument_group("several load processes")
    spread.add_argument("--processes", type=count, default=1, help="load processes of this machine (1)")
    spread.add_argument("--expect-workers", type=count, help="wait for this many Locust workers of other machines")
    spread.add_argument("--master-bind-host", default="127.0.0.1", help="the address for these workers (127.0.0.1)")
    spread.add_argument("--master-bind-port", type=count, default=5557, help="the port of --expect-workers (5557)")

    options = parser.parse_args(arguments)
    check(parser, options)
    return options


def check(parser: Parser, options: argparse.Namespace) -> None:
    """Refuse options that do not fit together."""
    if options.find_limit and options.shape != "steady":
        parser.error("--find-limit raises a steady rate: omit --shape")
    if options.expect_workers and options.processes > 1:
        parser.error("--expect-workers and --processes exclude each other")
    if options.workers < (options.expect_workers or options.processes):
        parser.error("--workers is the number of merchants of all processes together: use at least one for each")
