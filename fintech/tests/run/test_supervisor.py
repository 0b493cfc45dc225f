"""supervisord under our hand, with small programs in place of the platform's."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import psutil
import pytest

from fintech.run import RunError, checks
from fintech.run.layout import MARK, Layout
from fintech.run.ports import Ports
from fintech.run.programs import Program
from fintech.run.supervisor import Supervisor, call
from fintech.testing.processes import wait_until

pytestmark = pytest.mark.processes

Start = Callable[..., Supervisor]


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    found = Layout(tmp_path / "var", Ports.from_base(21_000))
    found.make_directories()
    return found


@pytest.fixture
def start(layout: Layout) -> Iterator[Start]:
    """Start these programs; each is a name and a line of Python."""
    started = []

    def start_all(**lines: str) -> Supervisor:
        programs = [program(name, line) for name, line in lines.items()]
        supervisor = Supervisor(layout, programs, {**os.environ, MARK: str(layout.var)})
        started.append(supervisor)
        supervisor.start()
        for name in lines:
            supervisor.start_program(name)
        return supervisor

    yield start_all
    for supervisor in started:
        supervisor.stop()
    checks.stop_leftovers(layout, None)


STAY = "import time; print('I am here', flush=True); time.sleep(600)"


def program(name: str, line: str) -> Program:
    start_seconds = 10 if name == "broken" else 1  # how long a busy machine may take to break it
    return Program(name, [sys.executable, "-uc", line], start_seconds, start_retries=1, stop_seconds=5)


def pid_of(layout: Layout, name: str) -> int:
    info = call(layout.supervisor_socket, "getProcessInfo", name)
    return info["pid"] if info["statename"] == "RUNNING" else 0


def news_about(supervisor: Supervisor, word: str) -> str:
    """Watch until a sentence holds that word."""
    heard: list[str] = []

    def heard_it() -> str:
        heard.extend(supervisor.watch())
        return next((sentence for sentence in heard if word in sentence), "")

    return wait_until(heard_it, 15, f"a sentence with {word!r}, only {heard}")


def test_a_killed_process_is_named_with_the_signal_and_its_last_line(layout, start):
    supervisor = start(shop=STAY)
    pid = wait_until(lambda: pid_of(layout, "shop"), 10, "the shop runs")

    os.kill(pid, signal.SIGKILL)

    assert news_about(supervisor, "ended") == (
        "shop ended (terminated by SIGKILL) and is started again. Its last line: I am here"
    )
    assert news_about(supervisor, "back") == "shop is back."
    assert pid_of(layout, "shop") not in (0, pid)


def test_a_process_that_cannot_start_stops_all_and_says_why(layout, start):
    supervisor = start(shop=STAY, broken="import os, sys; sys.exit('error: PORT is not set')")

    with pytest.raises(RunError) as stopped:
        news_about(supervisor, "never said")

    assert str(stopped.value).startswith("broken keeps failing (exit status 1, 2 times within a minute).")
    assert "error: PORT is not set" in str(stopped.value)
    supervisor.stop()
    assert not list(ours(layout))


def test_a_process_that_keeps_ending_is_not_started_for_ever(start, monkeypatch):
    monkeypatch.setattr("fintech.run.supervisor.MAX_EXITS", 1)
    supervisor = start(flapping="import time; time.sleep(1.5); raise SystemExit(3)")

    with pytest.raises(RunError, match=r"flapping keeps failing \(exit status 3, 2 times within a minute"):
        news_about(supervisor, "never said")


def test_a_program_that_does_not_exist_is_named(layout, start):
    supervisor = Supervisor(layout, [Program("ghost", ["/nowhere/ghost"])], dict(os.environ))
    supervisor.start()
    try:
        with pytest.raises(RunError, match="ghost cannot be started"):
            supervisor.start_program("ghost")
    finally:
        supervisor.stop()


def test_a_supervisor_that_cannot_start_is_a_sentence(layout):
    (layout.logs / "supervisord.log").mkdir()

    with pytest.raises(RunError, match="The supervisor does not start: "):
        Supervisor(layout, [], dict(os.environ)).start()


def test_the_last_started_stops_first(layout, start):
    waits = "import signal, time; signal.signal(signal.SIGTERM, lambda *_: (time.sleep(0.2), exit(0))); time.sleep(600)"
    supervisor = start(database=waits, web=waits, load=waits)
    for name in ("database", "web", "load"):
        wait_until(partial(pid_of, layout, name), 10, f"{name} runs")

    supervisor.stop()

    log = supervisor.log.read_text()
    places = [log.index(f"stopped: {name}") for name in ("load", "web", "database")]
    assert places == sorted(places)


def test_the_death_of_the_supervisor_is_noticed_and_its_processes_are_stopped(layout, start):
    supervisor = start(shop=STAY)
    pid = wait_until(lambda: pid_of(layout, "shop"), 10, "the shop runs")
    assert supervisor._process is not None
    supervisor._process.kill()
    supervisor._process.wait()

    with pytest.raises(RunError, match="The supervisor itself ended with -9"):
        supervisor.watch()
    stopped = checks.stop_leftovers(layout, None)

    assert len(stopped) == 1
    assert not psutil.pid_exists(pid)


def test_the_supervisor_of_a_killed_run_is_taken_down_through_its_socket(layout, start):
    start(shop=STAY)
    wait_until(lambda: pid_of(layout, "shop"), 10, "the shop runs")

    stopped = checks.stop_leftovers(layout, None)

    assert len(stopped) == 1
    assert "its supervisor" in stopped[0]
    assert not list(ours(layout))


def test_processes_of_another_run_are_not_leftovers(layout, start, tmp_path):
    start(shop=STAY)
    pid = wait_until(lambda: pid_of(layout, "shop"), 10, "the shop runs")
    other = Layout(tmp_path / "other", layout.ports)
    other.make_directories()

    assert checks.stop_leftovers(other, None) == []
    assert pid_of(layout, "shop") == pid


@pytest.mark.parametrize("name", ["100% of it", "Project #1", "a ;b", "a [b] c", 'it\'s "here"'])
def test_a_folder_name_that_an_ini_reader_could_cut_survives(tmp_path, name):
    layout = Layout(tmp_path / name, Ports.from_base(21_000))
    layout.make_directories()
    shop = replace(program("shop", f"print({name!r}); {STAY}"), directory=layout.var)
    supervisor = Supervisor(layout, [shop], dict(os.environ))
    supervisor.start()
    try:
        supervisor.start_program("shop")
        pid = wait_until(lambda: pid_of(layout, "shop"), 10, "the shop runs")
        process = psutil.Process(pid)
        wait_until(lambda: repr(name) in process.cmdline()[-1], 10, "the shop has its own command line")
        assert process.cwd() == str(layout.var)
        assert {path.name for path in tmp_path.iterdir()} == {name}
    finally:
        supervisor.stop()


def test_a_folder_name_with_a_line_break_is_refused_with_a_sentence(tmp_path):
    layout = Layout(tmp_path / "two\nlines", Ports.from_base(21_000))
    layout.make_directories()

    with pytest.raises(RunError, match="A path contains a line break: move the project to another folder"):
        Supervisor(layout, [], dict(os.environ)).start()


def ours(layout: Layout) -> Iterator[psutil.Process]:
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get(MARK) == str(layout.var):
                yield process
