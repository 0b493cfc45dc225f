"""Polls that run beside each other, turn by turn: one that gets no answer delays no other."""

import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from django.db import connection

from alerts_audit.completeness.http import PollError

Target = TypeVar("Target")

# A turn waits this long for a poll, which then goes on without the turn. A healthy target answers within a second.
PATIENCE_SECONDS = 2.0
# Polls for which a turn waits.
AT_ONCE = 4
# Threads start when they are needed: `AT_ONCE`, and one for each poll that goes on without its turn. Each may hold an
# answer of tens of megabytes and a database connection.
MOST_THREADS = 16
# A poll that takes longer is reported: then the job fails, as if the turn itself did not end.
STUCK_SECONDS = 900


@dataclass
class _Poll:
    key: str
    asked: float
    begun: float | None = None  # when a thread was free
    end: Future[None] = field(init=False)


class SideBySide(Generic[Target]):
    """Polls each target in each turn, in a thread, with `poll`.

    A target whose last poll still runs is left out of the turn, so the polls of one target follow each other.
    """

    def __init__(self, name: str, poll: Callable[[Target], None]) -> None:
        self._poll = poll
        self._threads = ThreadPoolExecutor(MOST_THREADS, thread_name_prefix=name)
        self._running: dict[str, _Poll] = {}
        self._ended: dict[str, _Poll] = {}  # the last one of each target
        self._slow: set[str] = set()

    def turn(self, targets: Mapping[str, Target]) -> None:
        """Poll the targets, and wait for those that answer. Raise what the last poll of a target raised.

        A target that gets no answer is reported in the turns after its poll has ended.
        """
        connection.close()  # not held while targets are asked
        self._note_ended()
        idle = targets.keys() - self._running.keys()
        # Slow ones come last, so that the turn does not wait for them before it polls the others.
        todo = deque(sorted(idle, key=lambda key: (key in self._slow, key)))
        awaited: list[_Poll] = []
        while todo or awaited:
            while todo and len(awaited) < AT_ONCE:
                key = todo.popleft()
                awaited.append(self._begin(key, targets[key]))
            awaited = self._wait(awaited)
        self._note_ended()
        self._report(targets)

    def _begin(self, key: str, target: Target) -> _Poll:
        poll = self._running[key] = _Poll(key, time.monotonic())
        poll.end = self._threads.submit(self._run, poll, target)
        return poll

    def _run(self, poll: _Poll, target: Target) -> None:
        poll.begun = time.monotonic()
        try:
            self._poll(target)
        finally:
            connection.close()  # it belongs to this thread, and no request closes it

    def _wait(self, awaited: list[_Poll]) -> list[_Poll]:
        """Wait until one of these polls has ended or is slow. Return the others."""
        first = min(poll.asked for poll in awaited) + PATIENCE_SECONDS
        wait([poll.end for poll in awaited], max(0.0, first - time.monotonic()), FIRST_COMPLETED)
        latest = time.monotonic() - PATIENCE_SECONDS
        for poll in awaited:
            if poll.end.done():
                self._slow.discard(poll.key)
            elif poll.asked <= latest:
                self._slow.add(poll.key)
        return [poll for poll in awaited if not poll.end.done() and poll.asked > latest]

    def _note_ended(self) -> None:
        for key, poll in list(self._running.items()):
            if poll.end.done():
                self._ended[key] = self._running.pop(key)

    def _report(self, targets: Mapping[str, Target]) -> None:
        self._ended = {key: poll for key, poll in self._ended.items() if key in targets}
        self._slow.intersection_update(targets)
        errors = []
        for key, poll in sorted(self._ended.items()):
            error = poll.end.exception()
            if isinstance(error, PollError):
                errors.append(str(error))
            elif error is not None:
                del self._ended[key]  # once: each time that it is raised, its traceback grows
                raise error
        latest = time.monotonic() - STUCK_SECONDS
        running = [self._running[key] for key in sorted(self._running.keys() & targets.keys())]
        stuck = [poll.key for poll in running if poll.begun is not None and poll.begun < latest]
        errors += [f"{key}: its poll has not ended for {STUCK_SECONDS // 60} minutes" for key in stuck]
        if errors:
            raise PollError("; ".join(errors))
