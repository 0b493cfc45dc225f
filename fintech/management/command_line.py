"""Arguments of commands, the sentence that a refused one ends with, and the progress of long ones."""

import getpass
import os
import sys
import time
from argparse import ArgumentTypeError
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime

from django.core.management import CommandError

from fintech.errors import DATABASE_ERRORS
from fintech.times import in_range, parse_time


def moment(text: str) -> datetime:
    """Return a time of RFC 3339 that a row can have. Without an offset it is in UTC; a day means its beginning."""
    found = parse_time(text) or parse_time(f"{text}Z") or parse_time(f"{text}T00:00:00Z")
    if found is None or in_range(found) != found:
        raise ArgumentTypeError(
            "use a time after 1970-01-01, such as 2026-01-31T12:00:00Z, or a day in UTC, such as 2026-01-31"
        )
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


@contextmanager
def one_sentence(*errors: type[Exception], say: Callable[[Exception], str] = str) -> Iterator[None]:
    """End the command with a sentence about one of these errors, or about the database."""
    try:
        yield
    except BrokenPipeError:  # no file of ours: manage.py ends a command whose output has no reader
        raise
    except errors as error:
        raise CommandError(say(error)) from None
    except DATABASE_ERRORS as error:
        raise CommandError(f"The database refuses or does not answer: {error}", returncode=2) from None


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
