"""The gateway client against a server that answers as a test defines, or not at all."""

import http.server
import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import pytest
from urllib3.exceptions import ProtocolError, SSLError

from fintech.testing.processes import free_port, is_over
from payments import metrics
from payments.gateway import client as module
from payments.gateway.answers import read_answer
from payments.gateway.base import Answer, GatewayError
from payments.gateway.circuit_breaker import MAX_FAILURES
from payments.gateway.http_gateway import HttpGateway
from payments.schemas import PaymentMethod

APPROVED = (200, {"outcome": "approved", "reference": "gw_1"})
UNAVAILABLE = (503, {"outcome": "unavailable", "code": "acquirer_unavailable", "charged": False})


@dataclass
class Server:
    """`answers` in order, the last one again and again: (status, JSON or bytes), seconds to stall, or None to drop."""

    port: int
    answers: list[Any] = field(default_factory=lambda: [APPROVED])
    requests: list[tuple[str, dict[str, str], Any]] = field(default_factory=list)
    connections: int = 0

    def next(self) -> Any:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@pytest.fixture
def server() -> Iterator[Server]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def setup(self) -> None:
            server.connections += 1
            super().setup()

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"] or 0))
            server.requests.append((self.path, dict(self.headers), json.loads(body) if body else None))
            answer = server.next()
            if answer is None or isinstance(answer, float):
                stop.wait(answer or 0)
                self.close_connection = True
                return
            status, content = answer
            content = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            if 300 <= status < 400:
                self.send_header("Location", "/elsewhere")
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST

        def log_message(self, *_: object) -> None:
            pass

    stop = threading.Event()
    listener = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server = Server(listener.server_address[1])
    threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield server
    stop.set()
    listener.shutdown()
    listener.server_close()


@pytest.fixture(autouse=True)
def _time_limits(settings, monkeypatch) -> None:
    settings.GATEWAY_TIMEOUT_SECONDS, settings.GATEWAY_DEADLINE_SECONDS = 10, 15
    monkeypatch.setattr(module, "PAUSE_SECONDS", 0.02)


@pytest.fixture
def client(server: Server) -> HttpGateway:
    return HttpGateway(f"http://127.0.0.1:{server.port}/", "secret-token")


def charge(client: HttpGateway, key: UUID | None = None) -> Answer:
    return client.charge(key or uuid4(), amount=1250, currency="EUR", payment_method=PaymentMethod("card"))


def counted() -> dict[str, float]:
    return {outcome: counter._value.get() for outcome, counter in metrics.OUTCOME.items()}


def grown(before: dict[str, float]) -> dict[str, float]:
    return {outcome: value - before[outcome] for outcome, value in counted().items() if value != before[outcome]}


def test_a_charge_is_sent_with_our_id_as_its_key(client, server):
    key = uuid4()

    answer = charge(client, key)

    assert (answer.outcome, answer.reference, answer.is_known) == ("approved", "gw_1", True)
    ((path, headers, body),) = server.requests
    assert path == "/v1/charges"
    assert headers["Idempotency-Key"] == str(key)
    assert headers["Authorization"] == "Bearer secret-token"
    assert headers["Content-Type"] == "application/json"
    method = {"type": "card", "token": None, "country": None}
    assert body == {"amount": 1250, "currency": "EUR", "payment_method": method, "challenge": "not_allowed"}


def test_the_other_calls_go_to_their_places(client, server):
    key, of = uuid4(), uuid4()

    client.refund(key, charge=of, amount=400, currency="EUR")
    client.cancel_charge(key)
    client.cancel_refund(key, charge=of, amount=400, currency="EUR")

    paths = [path for path, _, _ in server.requests]
    assert paths == ["/v1/refunds", f"/v1/charges/{key}/cancel", f"/v1/refunds/{key}/cancel"]
    assert server.requests[0][2] == {"charge": str(of), "amount": 400, "currency": "EUR"}


def test_each_attempt_is_kept_for_the_journal_without_secrets(client, server):
    server.answers = [UNAVAILABLE, APPROVED]

    exchanges = charge(client).exchanges

    assert [(exchange.operation, exchange.outcome, exchange.status_code) for exchange in exchanges] == [
        ("charge", "unavailable", 503),
        ("charge", "approved", 200),
    ]
    assert exchanges[1].answer == APPROVED[1]
    assert all(exchange.milliseconds > 0 for exchange in exchanges)
    assert "secret-token" not in repr(exchanges)


def test_calls_one_after_the_other_share_a_connection(client, server):
    for _ in range(20):
        charge(client)

    assert server.connections == 1


def test_a_gateway_that_did_not_try_is_tried_again_with_the_same_key(client, server):
    server.answers = [UNAVAILABLE, UNAVAILABLE, APPROVED]
    before = counted()

    answer = charge(client)

    assert answer.outcome == "approved"
    assert len({headers["Idempotency-Key"] for _, headers, _ in server.requests}) == 1
    assert grown(before) == {"unavailable": 2, "approved": 1}


def test_it_is_tried_three_times_at_most(client, server):
    server.answers = [UNAVAILABLE]
    before = counted()

    answer = charge(client)

    assert (answer.outcome, answer.code) == ("unavailable", "acquirer_unavailable")
    assert len(server.requests) == len(answer.exchanges) == 3
    assert grown(before) == {"unavailable": 3}


def test_it_is_not_tried_again_after_the_deadline(client, server, monkeypatch):
    server.answers = [UNAVAILABLE]
    monkeypatch.setattr(module, "PAUSE_SECONDS", 20)

    answer = charge(client)

    assert len(server.requests) == 1
    assert answer.seconds < 10


def test_a_gateway_that_is_not_there_did_not_charge():
    before = counted()

    answer = charge(HttpGateway(f"http://127.0.0.1:{free_port()}", "t"))

    assert (answer.outcome, answer.code) == ("unavailable", "not_reached")
    assert len(answer.exchanges) == 3
    assert grown(before) == {"unavailable": 3}


def test_an_answer_that_does_not_come_in_time_is_unknown_and_not_asked_for_again(client, server, settings):
    settings.GATEWAY_TIMEOUT_SECONDS = 1
    server.answers = [5.0]
    before = counted()

    answer = charge(client)

    assert (answer.outcome, answer.code, answer.is_known) == ("timeout", "no_answer", False)
    assert answer.seconds < 3
    assert len(server.requests) == 1
    assert grown(before) == {"timeout": 1}


def test_no_call_takes_longer_than_the_deadline(client, server, settings):
    settings.GATEWAY_TIMEOUT_SECONDS, settings.GATEWAY_DEADLINE_SECONDS = 30, 0.5
    server.answers = [UNAVAILABLE, 5.0]

    assert charge(client).seconds < 3


def test_a_dropped_connection_is_unknown(client, server):
    server.answers = [None]

    assert charge(client).outcome == "timeout"
    assert len(server.requests) == 1


def test_half_an_answer_is_unknown():
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"outcome": "declined"')

        threading.Thread(target=answer, daemon=True).start()
        assert charge(HttpGateway(f"http://127.0.0.1:{listener.getsockname()[1]}", "t")).outcome == "timeout"


@pytest.mark.parametrize(
    "error",
    [SSLError(ssl.SSLError(1, "decryption failed")), ProtocolError("Connection aborted.", ConnectionResetError(104))],
)
def test_an_error_that_may_come_after_the_order_was_read_is_unknown(client, monkeypatch, error):
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(client._in_threads.pool, "request", fail)

    assert charge(client).outcome == "timeout"


def test_a_connection_that_the_gateway_closed_in_between_is_no_failure(client, server):
    assert charge(client).outcome == "approved"
    for connection in client._in_threads.pool.pools._container.values():
        idle = connection.pool.get(block=False)
        idle.sock.shutdown(socket.SHUT_RDWR)
        connection.pool.put(idle)

    assert charge(client).outcome == "approved"


@pytest.mark.parametrize(
    ("status", "content", "outcome", "code"),
    [
        (200, {"outcome": "approved", "reference": "gw_1"}, "approved", None),
        (200, {"outcome": "already_charged", "reference": "gw_1"}, "approved", None),
        (200, {"outcome": "declined", "code": "insufficient_funds"}, "declined", "insufficient_funds"),
        (200, {"outcome": "already_declined", "code": "expired_card"}, "declined", "expired_card"),
        (200, {"outcome": "declined"}, "declined", "declined"),
        (200, {"outcome": "declined", "code": 7}, "declined", "declined"),
        (200, {"outcome": "cancelled"}, "cancelled", "cancelled"),
        (409, {"outcome": "cancelled"}, "cancelled", "cancelled"),
        (422, {"outcome": "error", "code": "key_reused", "charged": False}, "error", "key_reused"),
        (502, {"outcome": "error", "code": "processing_error", "charged": False}, "error", "processing_error"),
        (502, {"outcome": "error", "charged": False}, "error", "gateway_error"),
        (503, UNAVAILABLE[1], "unavailable", "acquirer_unavailable"),
        (401, {"outcome": "error"}, "error", "gateway_refused_our_credentials"),
        (403, {}, "error", "gateway_refused_our_credentials"),
        # Whatever does not say clearly that nothing was charged is not known.
        (200, {"outcome": "approved"}, "timeout", "unclear_answer"),
        (200, {"outcome": "approved", "reference": None}, "timeout", "unclear_answer"),
        (200, {"outcome": "pending"}, "timeout", "unclear_answer"),
        (200, {}, "timeout", "unclear_answer"),
        (201, {"outcome": "approved", "reference": "gw_1"}, "timeout", "unclear_answer"),
        (302, {"outcome": "approved", "reference": "gw_1"}, "timeout", "unclear_answer"),
        (404, {"outcome": "not_found"}, "timeout", "unclear_answer"),
        (429, {}, "timeout", "unclear_answer"),
        (500, {"outcome": "error"}, "timeout", "unclear_answer"),
        (502, {"outcome": "error", "charged": True}, "timeout", "unclear_answer"),
        (502, {"outcome": "error", "charged": "false"}, "timeout", "unclear_answer"),
        (503, {"outcome": "unavailable"}, "timeout", "unclear_answer"),
        (503, {"outcome": "approved", "reference": "gw_1"}, "timeout", "unclear_answer"),
        (504, {"outcome": "error", "charged": False}, "timeout", "unclear_answer"),
        (200, None, "timeout", "unreadable_answer"),
        (200, [], "timeout", "unreadable_answer"),
        (200, "approved", "timeout", "unreadable_answer"),
        (502, None, "timeout", "unreadable_answer"),
    ],
)
def test_each_answer_is_read_for_what_it_promises(status, content, outcome, code):
    answer = read_answer(status, content)

    assert (answer.outcome, answer.code) == (outcome, code)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<html>Bad gateway</html>",
        b'{"outcome": "declined"',
        b'{"outcome": "declined", "code": "\\u0000"}',
        b'{"outcome": "declined", "code": "' + b"x" * 1_000_000 + b'"}',
        b"\xff",
        b"[" * 100_000,
    ],
)
def test_an_answer_that_cannot_be_read_is_unknown(client, server, content):
    server.answers = [(200, content)]

    assert charge(client).outcome == "timeout"


def test_a_redirect_is_not_followed(client, server):
    server.answers = [(302, {}), APPROVED]

    assert charge(client).outcome == "timeout"
    assert len(server.requests) == 1


def test_a_gateway_that_fails_again_and_again_is_left_alone(client, server):
    server.answers = [None]
    for _ in range(MAX_FAILURES):
        charge(client)
    asked, before, start = len(server.requests), counted(), time.monotonic()

    answers = [charge(client) for _ in range(50)]

    assert {(answer.outcome, answer.code) for answer in answers} == {("unavailable", "circuit_open")}
    assert len(server.requests) == asked
    assert grown(before) == {"unavailable": 50}
    assert not is_over(start, 3)


def test_declines_and_errors_are_answers_and_no_reason_to_leave_it_alone(client, server):
    declined = (200, {"outcome": "declined", "code": "do_not_honor"})
    failed = (502, {"outcome": "error", "code": "processing_error", "charged": False})
    server.answers = [declined, failed] * MAX_FAILURES

    outcomes = [charge(client).outcome for _ in range(2 * MAX_FAILURES)]

    assert outcomes == ["declined", "error"] * MAX_FAILURES


@pytest.mark.parametrize("answer", [(404, {}), (409, {"outcome": "in_flight"}), (200, {"outcome": "pending"})])
def test_an_unclear_answer_about_one_operation_is_no_reason_to_leave_it_alone(client, server, answer):
    server.answers = [answer] * (2 * MAX_FAILURES) + [APPROVED]

    outcomes = [charge(client).outcome for _ in range(2 * MAX_FAILURES + 1)]

    assert outcomes == ["timeout"] * (2 * MAX_FAILURES) + ["approved"]


@pytest.mark.parametrize("answer", [(500, {}), (503, {}), (200, b"<html>"), (404, b"<html>")])
def test_answers_of_something_else_than_the_gateway_are_a_reason_to_leave_it_alone(client, server, answer):
    server.answers = [answer]
    for _ in range(MAX_FAILURES):
        charge(client)

    assert charge(client).code == "circuit_open"


def test_the_records_are_read(client, server):
    server.answers = [(200, {"currencies": {"EUR": {"charged": 1}}}), (200, {"records": [], "next": None})]

    assert client.totals() == {"EUR": {"charged": 1}}
    assert client.records(after=7, limit=2) == {"records": [], "next": None}
    assert [path for path, _, _ in server.requests] == ["/v1/totals", "/v1/records?after=7&limit=2"]


@pytest.mark.parametrize("answer", [(503, {}), (200, b"<html>"), (302, {}), None])
def test_records_that_cannot_be_read_are_an_error(client, server, answer):
    server.answers = [answer]

    with pytest.raises(GatewayError, match="the gateway"):
        client.records()
