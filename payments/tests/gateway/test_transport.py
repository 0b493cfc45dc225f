"""Both transports against a server that answers as the test says: they agree on what is known not to be sent."""

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress

import pytest

from fintech.server import cooperation
from fintech.testing.processes import free_port
from payments.gateway import loop_transport, transport
from payments.gateway.loop_transport import LoopTransport
from payments.gateway.transport import NoAnswer, NotReached, Received, ThreadTransport

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\ntraceresponse: 00-x\r\n\r\n{}"
GREETING_OF_TLS = b"\x16\x03"
MAX_BYTES = 1000
QUICK, PATIENT = 0.5, 5.0  # time limits: for an answer that does not come, and for one that a slow machine may delay
Post = Callable[..., Received]
Answer = bytes | Callable[[], Iterator[bytes]] | None


@pytest.fixture(params=["thread", "loop"])
def post(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Post]:
    for module in (transport, loop_transport):
        monkeypatch.setattr(module, "CONNECT_SECONDS", PATIENT)
    if request.param == "thread":
        in_thread = ThreadTransport(MAX_BYTES)
        yield lambda url, seconds=PATIENT: in_thread.send("POST", url, b"{}", {"X-A": "b"}, seconds)
        return
    with ThreadPoolExecutor(1) as threads:
        loop = asyncio.new_event_loop()
        loop.call_soon(cooperation.start, loop, threads)
        runner = threading.Thread(target=loop.run_forever, daemon=True)
        runner.start()
        on_loop = LoopTransport(MAX_BYTES)

        def call(url: str, seconds: float = PATIENT) -> Received:
            result: Future[Received] = Future()

            def run() -> None:
                try:
                    result.set_result(on_loop.send("POST", url, b"{}", {"X-A": "b"}, seconds))
                except Exception as error:
                    result.set_exception(error)

            loop.call_soon_threadsafe(cooperation.spawn, run)
            return result.result(10)

        yield call
        asyncio.run_coroutine_threadsafe(cooperation.end(), loop).result(5)
        loop.call_soon_threadsafe(loop.stop)
        runner.join(5)
        loop.close()


@pytest.fixture
def serve() -> Iterator[Callable[[Answer], int]]:
    """A server that sends an answer to each request and then hangs up, or for None does nothing."""
    listeners = []

    def start(answer: Answer) -> int:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)

        def run() -> None:
            held = []
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                read_request(connection)
                if answer is None:
                    held.append(connection)
                elif not isinstance(answer, bytes):
                    with connection, suppress(OSError):
                        for part in answer():
                            connection.sendall(part)
                else:
                    if hasattr(socket, "TCP_CORK"):  # the end arrives with the answer, before the next request
                        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
                    connection.sendall(answer)
                    connection.close()

        threading.Thread(target=run, daemon=True).start()
        return int(listener.getsockname()[1])

    yield start
    for listener in listeners:
        listener.close()


def read_request(connection: socket.socket) -> None:
    """Read to the end of the body, or the greeting of TLS."""
    connection.settimeout(PATIENT)
    with suppress(OSError):
        while (data := connection.recv(65536)) and not data.startswith(GREETING_OF_TLS) and not data.endswith(b"{}"):
            pass


def test_an_answer_is_read(post, serve):
    assert post(f"http://127.0.0.1:{serve(OK)}/") == Received(200, b"{}", "00-x")


def test_a_connection_that_the_server_has_closed_is_not_used_again(post, serve):
    port = serve(OK)

    assert [post(f"http://127.0.0.1:{port}/").status for _ in range(3)] == [200, 200, 200]


def test_a_port_that_nothing_listens_on_was_not_reached(post):
    with pytest.raises(NotReached):
        post(f"http://127.0.0.1:{free_port()}/")


def test_a_name_that_does_not_exist_was_not_reached(post):
    with pytest.raises(NotReached):
        post("http://gateway.invalid/")


@pytest.mark.parametrize(
    ("answer", "seconds"),
    [
        (None, QUICK),
        (b"", PATIENT),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}", PATIENT),
        (b"no HTTP\r\n\r\n", PATIENT),
    ],
    ids=["nothing", "a closed connection", "half an answer", "no HTTP"],
)
def test_an_answer_that_does_not_come_as_a_whole_is_none(post, serve, answer, seconds):
    with pytest.raises(NoAnswer):
        post(f"http://127.0.0.1:{serve(answer)}/", seconds)


def test_a_failure_of_tls_is_no_proof_that_nothing_was_read(post, serve):
    with pytest.raises(NoAnswer):
        post(f"https://127.0.0.1:{serve(b'no TLS')}/")


def test_a_redirect_is_not_followed(post, serve):
    port = serve(b"HTTP/1.1 307 x\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n")

    assert post(f"http://127.0.0.1:{port}/").status == 307


def answer_of(size: int) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (size, size * b"x")


@pytest.mark.parametrize("head", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n"], ids=["head", "body"])
def test_an_answer_that_drips_is_none_after_the_time_limit(post, serve, head):
    """In a thread, each byte began the time limit again."""
    start = time.monotonic()
    with pytest.raises(NoAnswer):
        post(f"http://127.0.0.1:{serve(lambda: drip(head))}/", QUICK)

    assert time.monotonic() - start < 5


def drip(head: bytes) -> Iterator[bytes]:
    yield head
    for _ in range(100):
        time.sleep(0.1)
        yield b"H"


def test_an_answer_of_exactly_the_limit_is_whole(post, serve):
    assert post(f"http://127.0.0.1:{serve(answer_of(MAX_BYTES))}/").content == MAX_BYTES * b"x"


def test_an_endless_answer_is_read_up_to_the_limit(post, serve):
    """It was read as a whole before its size was checked."""
    port = serve(endless)
    for _ in range(3):
        assert len(post(f"http://127.0.0.1:{port}/").content) == MAX_BYTES + 1


def endless() -> Iterator[bytes]:
    yield b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    while True:
        yield b"400\r\n" + 1024 * b"x" + b"\r\n"
