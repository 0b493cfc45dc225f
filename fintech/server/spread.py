"""Spread connections evenly over the web processes.

All processes accept from one queue. The first to wake would take most of a few connections that arrive together, and
its clients would wait for it while the others idle. So each process publishes the number of its connections in shared
memory, and leaves new ones to a process with fewer.

It does so only while that process shows signs of life, so a stopped, blocked or killed process delays one connection of
the others by `PATIENCE_SECONDS`, and then no more.
"""

import mmap

from fintech.telemetry.metric_slots import MAX_SLOTS

PATIENCE_SECONDS = 0.05


class Board:
    """The published numbers, one place for each metrics slot. gunicorn's master creates it before it forks."""

    def __init__(self) -> None:
        self._memory = memoryview(mmap.mmap(-1, 3 * 8 * MAX_SLOTS)).cast("Q")
        # One more than the number of connections; 0 if the process accepts none.
        self.counts = self._memory[:MAX_SLOTS]
        # A number that changes with each sign of life.
        self.signs = self._memory[MAX_SLOTS : 2 * MAX_SLOTS]
        self.owners = self._memory[2 * MAX_SLOTS :]

    def forget(self, pid: int) -> None:
        """Clear the place of a process that has ended, however it ended, unless the place has a new owner."""
        for place, owner in enumerate(self.owners):
            if owner == pid:
                self.counts[place] = 0


board = Board()


class Share:
    """The connections of this process, and those of the others. `others` is the number of places to look at."""

    def __init__(self, place: int, pid: int, *, others: int, board: Board = board) -> None:
        self._place, self._board = place, board
        self._others = [other for other in range(min(others, MAX_SLOTS)) if other != place]
        self._number = 0
        self._awaited: dict[int, tuple[int, float]] = {}  # by place: its sign of life, and until when we wait for it
        board.counts[place] = 0
        board.owners[place] = pid

    def change(self, by: int) -> None:
        self._number += by
        if self._board.counts[self._place]:
            self.publish(accepts=True)

    def publish(self, *, accepts: bool) -> None:
        """Show that this process lives. Call it once a second, too."""
        self._board.counts[self._place] = self._number + 1 if accepts else 0
        self._board.signs[self._place] += 1

    def should_wait(self, now: float) -> bool:
        """Return True if another process has fewer connections, and may accept the next one."""
        counts, own = self._board.counts, self._number + 1
        return any(0 < counts[other] < own and self._may_accept(other, now) for other in self._others)

    def _may_accept(self, other: int, now: float) -> bool:
        sign, until = self._awaited.get(other, (None, 0.0))
        if sign != self._board.signs[other]:
            self._awaited[other] = self._board.signs[other], now + PATIENCE_SECONDS
            return True
        return now < until
