"""A handler of log lines for the event loop of a web process."""

import logging
from contextlib import nullcontext
from typing import Any

from fintech.server import cooperation


class TurnHandler(logging.StreamHandler[Any]):
    """A handler that writes the lines of the event loop's tasks once a turn, and those of threads at once."""

    def __init__(self, stream: Any = None) -> None:
        super().__init__(stream)
        self._lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if not cooperation.on_loop():
            super().emit(record)
            return
        try:
            self._lines.append(self.format(record) + self.terminator)
            if len(self._lines) == 1:
                cooperation.after_turn(self.flush)
        except Exception:
            self.handleError(record)

    def flush(self) -> None:
        with self.lock or nullcontext():
            if self._lines:
                text = "".join(self._lines)
                self._lines.clear()
                self.stream.write(text)
            super().flush()
