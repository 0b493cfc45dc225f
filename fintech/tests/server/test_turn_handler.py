import io
import logging
from concurrent.futures import ThreadPoolExecutor

from fintech.server import cooperation
from fintech.server.turn_handler import TurnHandler
from fintech.testing.tasks import event_loop, run_task


class Stream(io.StringIO):
    """A stream that keeps each write."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[str] = []

    def write(self, text: str) -> int:
        self.writes.append(text)
        return super().write(text)


def emit(handler: logging.Handler, *messages: str) -> None:
    for message in messages:
        handler.handle(logging.LogRecord("test", logging.INFO, __file__, 1, message, (), None))


def test_a_thread_writes_each_line_at_once():
    stream = Stream()

    emit(TurnHandler(stream), "one", "two")

    assert stream.getvalue() == "one\ntwo\n"


def test_the_tasks_of_a_turn_write_their_lines_once():
    stream = Stream()
    handler = TurnHandler(stream)

    def task() -> None:
        emit(handler, "one", "two")
        cooperation.end_turn()
        emit(handler, "three")

    with ThreadPoolExecutor(1) as threads, event_loop(threads) as loop:
        run_task(loop, task)

    assert stream.writes == ["one\ntwo\n", "three\n"]


def test_a_line_that_cannot_be_formatted_takes_no_other_with_it(capsys):
    stream = Stream()
    handler = TurnHandler(stream)

    def task() -> None:
        handler.handle(logging.LogRecord("test", logging.INFO, __file__, 1, "%d", ("no number",), None))
        emit(handler, "good")

    with ThreadPoolExecutor(1) as threads, event_loop(threads) as loop:
        run_task(loop, task)

    assert stream.writes == ["good\n"]
    assert "Logging error" in capsys.readouterr().err


def test_the_last_lines_are_written_when_the_process_ends():
    stream = Stream()
    handler = TurnHandler(stream)

    def task() -> None:
        emit(handler, "last")
        handler.flush()  # logging does so at exit

    with ThreadPoolExecutor(1) as threads, event_loop(threads) as loop:
        run_task(loop, task)

    assert stream.writes == ["last\n"]
