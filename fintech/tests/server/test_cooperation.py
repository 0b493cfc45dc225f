"""Tasks of the event loop and the threads that work for them keep their order."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from fintech.server import cooperation


class InlineExecutor(ThreadPoolExecutor):
    """A thread that is done before its caller looks."""

    def submit(self, function: Any, /, *arguments: Any, **options: Any) -> Future[Any]:
        future = super().submit(function, *arguments, **options)
        future.exception()
        return future


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    with InlineExecutor(1) as threads:
        cooperation.start(loop, threads)
        yield loop
    loop.close()
    cooperation._Loop.thread = None


def run_task(loop: asyncio.AbstractEventLoop, function: Any) -> None:
    """Run `function` as a task until it has ended."""
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

    loop.run_until_complete(wait())


def test_calls_of_a_thread_run_before_the_task_that_offloaded_it_continues(loop):
    order: list[str] = []

    def task() -> None:
        cooperation.offload(lambda: cooperation.call(order.append, "the thread's call"))
        order.append("the task")

    run_task(loop, task)

    assert order == ["the thread's call", "the task"]


def test_an_error_of_a_thread_reaches_the_task(loop):
    def fail() -> None:
        raise ValueError("from the thread")

    with pytest.raises(ValueError, match="from the thread"):
        run_task(loop, lambda: cooperation.offload(fail))


def test_outside_of_tasks_nothing_is_offloaded(loop):
    assert cooperation.offload(lambda: "here") == "here"
