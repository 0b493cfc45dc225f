"""Spread the work of connections over the web processes: light work in steps, heavy work evenly.

All processes accept from one queue. A connection that sends payments is light: payments that wait together in one
process share its statements and its wake-ups, so sixteen connections cost less in one process than in two. Therefore
each process takes a `STEP` of connections before it leaves the next ones to a process with fewer steps, and the first
step is for the process in the lowest place. A connection that sends batches or reads pages is heavy: it occupies the
interpreter for long, and counts as a whole step. If several of them came to one process, it closes some after an
answer, and their clients connect to a process with less work.

Each process publishes the weight of its connections in shared memory. The others leave connections to it only while it
shows signs of life, so a stopped, blocked or killed process delays one connection of the others by `PATIENCE_SECONDS`,
and then no more.
"""

import mmap
from collections.abc import Iterator

from fintech.telemetry.metric_slots import MAX_SLOTS

PATIENCE_SECONDS = 0.05
STEP = 16
LIGHT, HEAVY = 1, STEP  # weights of connections


class Board:
    """The published numbers, one place for each metrics slot. gunicorn's master creates it before it forks."""

    def __init__(self) -> None:
        self._memory = memoryview(mmap.mmap(-1, 3 * 8 * MAX_SLOTS)).cast("Q")
        # One more than the weight of the connections; 0 if the process accepts none.
        self.weights = self._memory[:MAX_SLOTS]
        # A number that changes with each sign of life.
        self.signs = self._memory[MAX_SLOTS : 2 * MAX_SLOTS]
        self.owners = self._memory[2 * MAX_SLOTS :]

    def forget(self, pid: int) -> None:
        """Clear the place of a process that has ended, however it ended, unless the place has a new owner."""
        for place, owner in enumerate(self.owners):
            if owner == pid:
                self.weights[place] = 0


board = Board()


class Share:
    """The work of this process, and that of the others. `others` is the number of places to look at."""

    def __init__(self, place: int, pid: int, *, others: int, board: Board = board) -> None:
        self._place, self._board = place, board
        self._others = [other for other in range(min(others, MAX_SLOTS)) if other != place]
        self._weight = 0
        self._awaited: dict[int, tuple[int, float]] = {}  # by place: its sign of life, and until when we wait for it
        board.weights[place] = 0
        board.owners[place] = pid

    def change(self, by: int) -> None:
        self._weight += by
        if self._board.weights[self._place]:
            self.publish(accepts=True)

    def publish(self, *, accepts: bool) -> None:
        """Show that this process lives. Call it once a second, too."""
        self._board.weights[self._place] = self._weight + 1 if accepts else 0
        self._board.signs[self._place] += 1

    def should_wait(self, now: float) -> bool:
        """Return True if another process is due to accept the next connection, and may accept it."""
        own = _due(self._place, self._weight)
        return any(_due(other, weight) < own and self._may_accept(other, now) for other, weight in self._accepting())

    def should_move(self, weight: int, now: float) -> bool:
        """Return True if another process has less work even after it takes a heavy connection from this one."""
        if weight < HEAVY:
            return False
        rest = self._weight - weight
        return any(theirs + weight <= rest and self._may_accept(other, now) for other, theirs in self._accepting())

    def _accepting(self) -> Iterator[tuple[int, int]]:
        """Yield place and weight of the other processes that accept connections."""
        weights = self._board.weights
        return ((other, weights[other] - 1) for other in self._others if weights[other])

    def _may_accept(self, other: int, now: float) -> bool:
        sign, until = self._awaited.get(other, (None, 0.0))
        if sign != self._board.signs[other]:
            self._awaited[other] = self._board.signs[other], now + PATIENCE_SECONDS
            return True
        return now < until


def _due(place: int, weight: int) -> tuple[int, int]:
    """Return the rank of a process: the lowest is due to accept."""
    step = weight // STEP
    return step, 0 if step else place
