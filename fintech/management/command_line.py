"""Arguments of commands, and the progress of long ones."""

import getpass
import os
import sys
import time
from datetime import MINYEAR, UTC, datetime


def moment(text: str) -> datetime:
    """Return a time with its zone. In the year 1 there may be no earlier time, nor the same one in UTC."""
    found = datetime.fromisoformat(text)
    if found.year == MINYEAR:
        raise ValueError(text)
    return found if found.tzinfo else found.replace(tzinfo=UTC)


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
