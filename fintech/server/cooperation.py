"""Waits that suit the caller: a greenlet of the event loop yields, a thread blocks.

The web process runs payments on one event loop. Each payment is a greenlet, so its code stays synchronous. Where the
code has to wait, it calls one of the functions here: they switch to the loop and return when the wait is over. The same
code also runs in threads (the worker process, commands, batches); there the same functions block.

On the loop a blocking call stops everything else, so `offload` runs code that may block in a thread. Locks that are
held across a wait must be `Lock`: a `threading.Lock` would stop the loop that is to release it.
"""

import asyncio
import contextvars
import sys
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from concurrent.futures import Executor
from typing import Any, ClassVar, Self, TypeVar

import psycopg
from greenlet import getcurrent, greenlet
from psycopg import waiting

Result = TypeVar("Result")

# How long a thread keeps the interpreter lock while others want it: Python's default, and while a page is in hand.
SWITCH_SECONDS, PAGE_SWITCH_SECONDS = 0.005, 0.02
PAGE_PAUSE_SECONDS = 0.005


class Task(greenlet):
    """A piece of synchronous work that runs on the loop's thread."""


class _Loop:
    """The event loop of this process, where there is one."""

    loop: asyncio.AbstractEventLoop
    thread: int | None = None
    hub: greenlet
    threads: Executor
    endings: ClassVar[list[Callable[[], Awaitable[None]]]] = []


def start(loop: asyncio.AbstractEventLoop, threads: Executor) -> None:
    """Run tasks on `loop` from now on; call it on the loop's own thread. `threads` runs offloaded functions."""
    _Loop.loop, _Loop.threads, _Loop.thread, _Loop.hub = loop, threads, threading.get_ident(), getcurrent()


def spawn(function: Callable[..., None], *arguments: Any) -> None:
    """Begin a task now. Call it on the loop's thread, outside of tasks; `function` must not raise."""
    Task(function, _Loop.hub).switch(*arguments)


def fan_out(function: Callable[[], None], *, most: int, wanted: Callable[[], bool], threads: Executor) -> None:
    """Run `function` several times at once: in tasks of the loop, or in `threads` if the process has no loop. Each run
    begins when those before it wait or have ended, and only if it is still `wanted`. Call it in a thread; `function`
    must not raise.
    """
    if _Loop.thread is None:
        for _ in range(most):
            threads.submit(function)
        return

    def begin() -> None:
        for _ in range(most):
            if not wanted():
                break
            spawn(function)

    _Loop.loop.call_soon_threadsafe(begin)


def at_end(close: Callable[[], Awaitable[None]]) -> None:
    """Await `close` when the loop ends."""
    _Loop.endings.append(close)


async def end() -> None:
    while _Loop.endings:
        await _Loop.endings.pop()()


def on_loop() -> bool:
    return isinstance(getcurrent(), Task)


class Waiter:
    """A single wait: `wait` returns once any thread has called `wake`, before or after."""

    __slots__ = ("_done", "_lock", "_task", "_waiting")

    def __init__(self) -> None:
        current = getcurrent()
        self._done = self._waiting = False
        self._task = current if isinstance(current, Task) else None
        self._lock = None if self._task else threading.Lock()
        if self._lock is not None:
            self._lock.acquire()

    def wait(self) -> None:
        if self._lock is not None:
            self._lock.acquire()
            return
        self._waiting = True
        while not self._done:
            _Loop.hub.switch()
        self._waiting = False

    def wake(self) -> None:
        """Wake the waiter, once and by one caller."""
        self._done = True
        if self._lock is not None:
            self._lock.release()
        elif threading.get_ident() == _Loop.thread:
            if self._waiting:
                _Loop.loop.call_soon(self._resume)
        else:
            _Loop.loop.call_soon_threadsafe(self._resume)

    @property
    def is_task(self) -> bool:
        return self._task is not None

    def _resume(self) -> None:
        if self._waiting and self._task is not None:
            self._task.switch()


def wake_all(waiters: Sequence[Waiter]) -> None:
    """Wake several waiters; the tasks among them in one callback of the loop."""
    tasks = []
    for waiter in waiters:
        if waiter.is_task:
            waiter._done = True
            tasks.append(waiter)
        else:
            waiter.wake()
    if tasks:
        call_soon = _Loop.loop.call_soon if threading.get_ident() == _Loop.thread else _Loop.loop.call_soon_threadsafe
        call_soon(_resume_all, tasks)


def _resume_all(waiters: Sequence[Waiter]) -> None:
    for waiter in waiters:
        waiter._resume()


class Slots:
    """A semaphore for tasks and threads, which may be held across waits. The longest waiting holder is next."""

    def __init__(self, number: int) -> None:
        self._guard = threading.Lock()
        self._free = number
        self._waiters: deque[Waiter] = deque()

    def __enter__(self) -> Self:
        with self._guard:
            if self._free:
                self._free -= 1
                return self
            waiter = Waiter()
            self._waiters.append(waiter)
        waiter.wait()
        return self

    def __exit__(self, *_: object) -> None:
        with self._guard:
            if self._waiters:
                self._waiters.popleft().wake()  # it takes over this slot
            else:
                self._free += 1


class Lock(Slots):
    """A mutex that may be held across a wait."""

    def __init__(self) -> None:
        super().__init__(1)


def offload(function: Callable[..., Result], *arguments: Any, threads: Executor | None = None) -> Result:
    """Return the result of `function`, which may block: in a thread if this is the loop, with the caller's context."""
    if not on_loop():
        return function(*arguments)
    waiter, context = Waiter(), contextvars.copy_context()
    future = (threads or _Loop.threads).submit(context.run, function, *arguments)
    # Through the loop's queue, even if the thread is done already: what it passed to `call` must run before us.
    future.add_done_callback(lambda _: _Loop.loop.call_soon_threadsafe(waiter.wake))
    waiter.wait()
    return future.result()


class Pages:
    """The pages that threads make for tasks of the loop. The loop gives way to them, because a page that competes with
    hundreds of payments for the interpreter and the processors takes several times as long.
    """

    def __init__(self) -> None:
        self._in_hand = 0

    def __enter__(self) -> None:
        self._in_hand += 1
        sys.setswitchinterval(PAGE_SWITCH_SECONDS)

    def __exit__(self, *_: object) -> None:
        self._in_hand -= 1
        if not self._in_hand:
            sys.setswitchinterval(SWITCH_SECONDS)

    def give_way(self) -> None:
        """Pause the caller, a task, if a page is in hand."""
        if self._in_hand:
            sleep(PAGE_PAUSE_SECONDS)


pages = Pages()


def sleep(seconds: float) -> None:
    if on_loop():
        waiter = Waiter()
        _Loop.loop.call_later(seconds, waiter.wake)
        waiter.wait()
    else:
        time.sleep(seconds)


def end_turn() -> None:
    """Let all ready tasks run before the caller continues."""
    waiter = Waiter()
    _Loop.loop.call_soon(waiter.wake)
    waiter.wait()


def after_turn(function: Callable[[], None]) -> None:
    """Run `function` once after the tasks that are ready now, so that it serves all of them; call it in a task."""
    _Loop.loop.call_soon(function)


def run(coroutine: Coroutine[Any, Any, Result]) -> Result:
    """Return the result of `coroutine`; on the loop only."""
    waiter = Waiter()
    task = _Loop.loop.create_task(coroutine)
    task.add_done_callback(lambda _: waiter.wake())
    waiter.wait()
    return task.result()


class LoopConnection(psycopg.Connection[Any]):
    """A connection whose statements can be executed on the loop and in threads."""

    def wait(self, gen: Any, *arguments: Any, **options: Any) -> Any:
        if on_loop():
            return _drive(gen, self.pgconn.socket)
        return super().wait(gen, *arguments, **options)


def _drive(generator: Any, descriptor: int) -> Any:
    """Drive a query on the loop, as psycopg's own `waiting.wait` does."""
    try:
        wanted = next(generator)
        while True:
            wanted = generator.send(_ready(descriptor, wanted))
    except StopIteration as end:
        return end.value


def _ready(descriptor: int, wanted: int) -> int:
    loop, waiter, ready = _Loop.loop, Waiter(), 0

    def note(state: int) -> None:
        nonlocal ready
        if not ready:
            waiter.wake()
        ready |= state

    if wanted & waiting.WAIT_R:
        loop.add_reader(descriptor, note, waiting.READY_R)
    if wanted & waiting.WAIT_W:
        loop.add_writer(descriptor, note, waiting.READY_W)
    try:
        waiter.wait()
    finally:
        if wanted & waiting.WAIT_R:
            loop.remove_reader(descriptor)
        if wanted & waiting.WAIT_W:
            loop.remove_writer(descriptor)
    return ready


def call(function: Callable[..., None], *arguments: Any) -> None:
    """Run `function` on the loop's thread, now or soon."""
    if threading.get_ident() == _Loop.thread:
        function(*arguments)
    else:
        _Loop.loop.call_soon_threadsafe(function, *arguments)
