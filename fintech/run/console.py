"""The output for the user: sentences, and one live line below them on a terminal."""

import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

CLEAR_LINE = "\r\x1b[K"
PIPE_SECONDS = 10  # between two lines of KPIs without a terminal


class Console:
    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream or sys.stdout
        self.terminal = self.stream.isatty()
        self._live = ""
        self._lived = 0.0
        self._gone = False

    def say(self, text: str = "") -> None:
        """Print a line that stays."""
        self._write(f"{CLEAR_LINE}{text}\n{self._live}" if self._live else f"{text}\n")

    def live(self, text: str) -> None:
        """Replace the last line on a terminal; elsewhere print a new line every `PIPE_SECONDS`."""
        if self.terminal:
            self._live = text[: shutil.get_terminal_size().columns - 1]
            self._write(f"{CLEAR_LINE}{self._live}")
        elif time.monotonic() - self._lived >= PIPE_SECONDS:
            self._lived = time.monotonic()
            self._write(f"{time.strftime('%H:%M:%S')} {text}\n")

    def end_live(self) -> None:
        if self._live:
            self._live = ""
            self._write("\n")

    @contextmanager
    def step(self, doing: str, done: str) -> Iterator[None]:
        """Print `doing ...` while the block runs, then `done (1.2 s)`."""
        began = time.monotonic()
        if self.terminal:
            self.live(f"{doing} ...")
        try:
            yield
        except BaseException:
            self.end_live()
            raise
        self._live = ""
        self._write(f"{CLEAR_LINE if self.terminal else ''}{done} ({time.monotonic() - began:.1f} s)\n")

    def _write(self, text: str) -> None:
        if self._gone:
            return
        try:
            self.stream.write(text)
            self.stream.flush()
        except OSError:
            self._gone = True  # printed once, to end the run
            raise
