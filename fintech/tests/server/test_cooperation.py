"""Tasks of the event loop and the threads that work for them keep their order."""

import asyncio
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from fintech.server import cooperation
from fintech.testing.tasks import event_loop, run_task


class InlineExecutor(ThreadPoolExecutor):
    """A thread that is done before its caller looks."""

    def submit(self, function: Any, /, *arguments: Any, **options: Any) -> Future[Any]:
        future = super().submit(function, *arguments, **options)
        future.exception()
        return future


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    with InlineExecutor(1) as threads, event_loop(threads) as loop:
        yield loop


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


def fan_out_from_thread(loop, function: Callable[[], None], **options: Any) -> None:
    with ThreadPoolExecutor(1) as threads:
        run_task(
            loop,
            lambda: cooperation.offload(
                lambda: cooperation.fan_out(function, **options, threads=threads), threads=threads
            ),
        )


def test_a_thread_fans_out_to_tasks_of_the_loop(loop):
    places: list[bool] = []

    fan_out_from_thread(loop, lambda: places.append(cooperation.on_loop()), most=3, wanted=lambda: True)

    assert places == [True, True, True]


def test_a_task_begins_only_while_it_is_wanted(loop):
    todo, waited = ["a", "b", "c"], []

    def work() -> None:
        todo.pop()
        cooperation.sleep(0)
        waited.append(len(todo))

    fan_out_from_thread(loop, work, most=10, wanted=lambda: bool(todo))
    run_task(loop, lambda: cooperation.sleep(0.01))

    assert waited == [0, 0, 0]


def test_a_task_that_does_not_wait_may_do_the_work_of_all(loop):
    todo, tasks = ["a", "b", "c"], []

    def work() -> None:
        tasks.append(len(todo))
        todo.clear()

    fan_out_from_thread(loop, work, most=10, wanted=lambda: bool(todo))

    assert tasks == [3]


def test_the_loop_gives_way_while_a_page_is_in_hand(loop):
    order: list[str] = []

    def task() -> None:
        cooperation.pages.give_way()
        order.append("no page")
        with cooperation.pages, cooperation.pages:
            loop.call_soon(order.append, "the others")
            cooperation.pages.give_way()
            order.append("two pages")

    run_task(loop, task)

    assert order == ["no page", "the others", "two pages"]


def test_threads_keep_the_interpreter_longer_until_the_last_page_is_made():
    with cooperation.pages:
        with cooperation.pages:
            pass
        assert sys.getswitchinterval() == pytest.approx(cooperation.PAGE_SWITCH_SECONDS)
    assert sys.getswitchinterval() == pytest.approx(cooperation.SWITCH_SECONDS)


def test_without_a_loop_a_thread_runs_the_function():
    names: list[str] = []
    with ThreadPoolExecutor(1, thread_name_prefix="batch") as threads:
        function = lambda: names.append(threading.current_thread().name)  # noqa: E731 - shorter
        cooperation.fan_out(function, most=2, wanted=lambda: True, threads=threads)

    assert names == ["batch_0", "batch_0"]


def test_callbacks_after_a_turn_run_once_the_task_waits(loop):
    order: list[str] = []

    def task() -> None:
        cooperation.after_turn(lambda: order.append("after the turn"))
        order.append("the task")
        cooperation.end_turn()
        order.append("the next turn")

    run_task(loop, task)

    assert order == ["the task", "after the turn", "the next turn"]


def test_tasks_and_threads_are_woken_together(loop):
    waiters: list[cooperation.Waiter] = []
    woken: list[str] = []

    def wait(name: str) -> None:
        waiter = cooperation.Waiter()
        waiters.append(waiter)
        waiter.wait()
        woken.append(name)

    def task() -> None:
        while len(waiters) < 3:
            cooperation.sleep(0.01)
        cooperation.wake_all(waiters)
        cooperation.end_turn()

    thread = threading.Thread(target=wait, args=["thread"], daemon=True)
    thread.start()
    for _ in range(2):
        loop.call_soon(cooperation.spawn, wait, "task")
    run_task(loop, task)
    thread.join(10)

    assert sorted(woken) == ["task", "task", "thread"]
