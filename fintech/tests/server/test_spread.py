"""Connections of the real web are spread over its processes, and a process that does not answer delays none."""

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from statistics import median

import psutil
import pytest

from fintech.server.spread import Board, Share
from fintech.testing.processes import Platform, wait_until

GET = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
CLIENTS, BURSTS = 32, 9


# --- The decision ------------------------------------------------------------------------------------------


@pytest.fixture
def shares() -> list[Share]:
    """Three processes that accept connections."""
    board = Board()
    shares = [Share(place, pid=1000 + place, others=3, board=board) for place in range(3)]
    for share in shares:
        share.publish(accepts=True)
    return shares


def test_processes_with_the_same_number_of_connections_do_not_wait(shares):
    for share in shares:
        share.change(+1)

    assert not any(share.should_wait(0.0) for share in shares)


def test_a_process_with_more_connections_waits_for_one_with_fewer(shares):
    shares[0].change(+1)

    assert [share.should_wait(0.0) for share in shares] == [True, False, False]


def test_a_connection_that_is_closed_counts_no_longer(shares):
    shares[0].change(+1)
    shares[0].change(-1)

    assert not shares[0].should_wait(0.0)


def test_a_process_that_shows_no_sign_of_life_is_awaited_once(shares):
    shares[0].change(+1)
    assert shares[0].should_wait(0.0)

    assert shares[0].should_wait(100.0)  # for the other one

    assert not shares[0].should_wait(200.0)


def test_a_process_that_lives_again_is_awaited_again(shares):
    shares[2].publish(accepts=False)
    shares[0].change(+1)
    assert shares[0].should_wait(0.0)
    assert not shares[0].should_wait(100.0)

    shares[1].publish(accepts=True)

    assert shares[0].should_wait(100.0)


def test_one_silent_process_does_not_end_the_wait_for_another(shares):
    shares[0].change(+1)
    assert [shares[0].should_wait(now) for now in (0.0, 100.0, 200.0)] == [True, True, False]

    shares[2].publish(accepts=True)

    assert shares[0].should_wait(300.0)


def test_a_full_process_is_not_awaited(shares):
    shares[0].change(+1)
    for full in (shares[1], shares[2]):
        full.publish(accepts=False)
        full.change(-1)

    assert not shares[0].should_wait(0.0)


def test_a_process_that_ended_is_not_awaited():
    board = Board()
    first, second = (Share(place, pid=1000 + place, others=2, board=board) for place in range(2))
    second.publish(accepts=True)
    first.publish(accepts=True)
    first.change(+1)

    board.forget(1001)

    assert not first.should_wait(0.0)


def test_the_end_of_a_process_leaves_the_one_that_took_its_place():
    board = Board()
    first = Share(0, pid=1000, others=2, board=board)
    Share(1, pid=1001, others=2, board=board)
    Share(1, pid=1002, others=2, board=board).publish(accepts=True)
    first.publish(accepts=True)
    first.change(+1)

    board.forget(1001)

    assert first.should_wait(0.0)


# --- The real web ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    with Platform(tmp_path_factory.mktemp("platform"), workers=2, worker=False) as platform:
        yield platform


@pytest.fixture
def platform(running: Platform) -> Platform:
    """A web of two processes. Both accept connections, and have none."""
    with ExitStack() as connections:

        def both_have_connections() -> bool:
            opened = connect(running, connections)
            opened.sendall(GET)
            return opened.recv(15) == b"HTTP/1.1 200 OK" and list(map(bool, numbers(running).values())) == [True, True]

        wait_until(both_have_connections, timeout=60, what="both processes accept connections")
    wait_until(lambda: not any(numbers(running).values()), what="their connections are closed")
    return running


def connect(platform: Platform, connections: ExitStack) -> socket.socket:
    return connections.enter_context(socket.create_connection(("127.0.0.1", platform.port), timeout=20))


def numbers(platform: Platform) -> dict[int, int]:
    """Return the number of open connections of each process."""
    return {
        pid: sum(
            one.status == psutil.CONN_ESTABLISHED and one.laddr.port == platform.port
            for one in psutil.Process(pid).net_connections("tcp")
        )
        for pid in platform.worker_pids()
    }


def open_together(platform: Platform, connections: ExitStack) -> None:
    """Open connections at once, and check that each is served."""
    opened = [connections.enter_context(socket.socket()) for _ in range(CLIENTS)]
    for connection in opened:
        connection.setblocking(False)
        connection.connect_ex(("127.0.0.1", platform.port))
    for connection in opened:
        connection.settimeout(20)
        connection.sendall(GET)
    assert all(connection.recv(15) == b"HTTP/1.1 200 OK" for connection in opened)


@pytest.mark.processes
def test_connections_that_arrive_together_are_spread_over_the_processes(platform):
    mosts = []
    for _ in range(BURSTS):
        with ExitStack() as connections:
            open_together(platform, connections)
            mosts.append(max(numbers(platform).values()))
        wait_until(lambda: not any(numbers(platform).values()), what="these connections are closed")

    assert median(mosts) <= 0.55 * CLIENTS


@pytest.mark.processes
def test_all_connections_are_served_while_a_process_is_stopped(platform):
    stopped = platform.worker_pids()[0]
    with ExitStack() as connections:
        os.kill(stopped, signal.SIGSTOP)
        connections.callback(os.kill, stopped, signal.SIGCONT)

        open_together(platform, connections)

        assert numbers(platform)[stopped] == 0


@pytest.mark.processes
def test_a_process_that_is_stopped_while_it_starts_ends_at_once(platform):
    """The signal was lost, and a stop of the web took until `graceful_timeout`."""
    before = set(platform.worker_pids())
    platform.kill_one_worker()
    (started,) = wait_until(lambda: set(platform.worker_pids()) - before, what="another one starts", interval=0.001)
    os.kill(started, signal.SIGTERM)

    wait_until(lambda: started not in platform.worker_pids(), what="it has ended")


@pytest.mark.processes
def test_connections_are_served_after_a_process_was_killed(platform):
    with ExitStack() as connections:
        open_together(platform, connections)
        killed = platform.kill_one_worker()
        wait_until(lambda: killed not in platform.worker_pids(), what="it is gone")

        open_together(platform, connections)
