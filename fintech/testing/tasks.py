"""Run tasks on an event loop, as a web process does."""

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager

from fintech.server import cooperation


@contextmanager
def event_loop(threads: Executor) -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    cooperation.start(loop, threads)
    try:
        yield loop
    finally:
        loop.close()
        cooperation._Loop.thread = None


def run_task(loop: asyncio.AbstractEventLoop, function: Callable[[], object]) -> None:
    """Run `function` as a task until it has ended, and the callbacks that were ready then."""
    ended = loop.create_future()

    def task() -> None:
        try:
            function()
        except BaseException as error:
            ended.set_exception(error)
        else:
            ended.set_result(None)

    async def wait() -> None:
        cooperation.spawn(task)
        await asyncio.wait_for(ended, 10)
        await asyncio.sleep(0)

    loop.run_until_complete(wait())
