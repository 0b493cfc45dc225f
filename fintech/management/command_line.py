"""Times as arguments of commands, and the progress of long ones."""

import sys
import time
from datetime import UTC, datetime


def moment(text: str) -> datetime:
    found = datetime.fromisoformat(text)
    return found if found.tzinfo else found.replace(tzinfo=UTC)


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
