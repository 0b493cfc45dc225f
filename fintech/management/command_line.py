"""Arguments of commands, and the progress of long ones."""

import getpass
import os
import sys
import time
from argparse import ArgumentTypeError
from datetime import datetime

from fintech.times import in_range, parse_time


def moment(text: str) -> datetime:
    """Return a time of RFC 3339, or the beginning of a day in UTC, that a row can have."""
    found = parse_time(text) or parse_time(f"{text}T00:00:00Z")
    if found is None or in_range(found) != found:
        example = "2026-01-31T12:00:00Z, or a day in UTC, such as 2026-01-31"
        raise ArgumentTypeError(f"use a time since 1970 with its offset, such as {example}")
    return in_range(found)


def row_id(text: str) -> int:
    """Return the id of a row, as the database can store it."""
    value = int(text)
    if not 0 < value < 2**63:
        raise ValueError(text)
    return value


def system_user() -> str:
    """Return the name of the user who runs the command, or the number of one without a name, as in a container."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"user {os.getuid()}"


class Ticker:
    """Progress on stderr, at most once a second; on a terminal in one line."""

    def __init__(self) -> None:
        self._next = time.monotonic() + 1

    def __call__(self, what: str, done: int, total: int) -> None:
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + 1
            start, end = ("\r\x1b[K", "") if sys.stderr.isatty() else ("", "\n")
            sys.stderr.write(f"{start}{what}: {done:,} of {total:,}{end}")
            sys.stderr.flush()
