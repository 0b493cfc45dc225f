"""Payments that wait for a slow gateway, and what goes on beside them."""

import http.client
import json
import secrets
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from fintech.testing.processes import Platform, is_over, wait_until
from loadtests.tests.simulator import Simulator
from payments.tests.conftest import Client

pytestmark = pytest.mark.processes

WAITING = 500


@pytest.fixture(scope="module")
def one_process(tmp_path_factory: pytest.TempPathFactory, gateway: Simulator) -> Iterator[Platform]:
    patient = {"GATEWAY_TIMEOUT_SECONDS": "15", "GATEWAY_DEADLINE_SECONDS": "16", "LEASE_SECONDS": "30"}
    with Platform(tmp_path_factory.mktemp("one"), gateway=gateway, workers=1, worker=False, env=patient) as running:
        yield running


def send_payment(platform: Platform, client: Client) -> socket.socket:
    body = json.dumps({"amount": 1250, "currency": "EUR"}).encode()
    head = (
        f"POST /v1/transactions HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {client.api_key}\r\n"
        f"Idempotency-Key: {secrets.token_hex(12)}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    connection = socket.create_connection(("127.0.0.1", platform.port), timeout=30)
    connection.sendall(head.encode() + body)
    return connection


def status_of(connection: socket.socket) -> int:
    response = http.client.HTTPResponse(connection)
    response.begin()
    return response.status


def test_reads_are_answered_while_hundreds_of_payments_wait_for_a_hanging_gateway(one_process, client, gateway):
    gateway.profile(latency_ms=60_000)
    with ExitStack() as stack:
        waiting = [stack.enter_context(send_payment(one_process, client)) for _ in range(WAITING)]
        wait_until(
            lambda: one_process.scrape()["transactions_in_progress"] == WAITING, timeout=30, what="all are in hand"
        )
        start = time.monotonic()
        listed = one_process.request("GET", "/v1/transactions?limit=1", api_key=client.api_key)
        ready = one_process.request("GET", "/ready")
        assert not is_over(start, 2)

        assert (listed.status, ready.status) == (200, 200)
        assert one_process.scrape()["transactions_in_progress"] > 0, "they waited all the time"
        assert {status_of(connection) for connection in waiting} == {202}


def test_payments_that_wait_together_are_answered_together(one_process, client, gateway):
    """Hundreds at once take little longer than one: none waits for another's call."""
    gateway.profile(latency_ms=1_000)
    with ExitStack() as stack:
        waiting = [stack.enter_context(send_payment(one_process, client)) for _ in range(200)]

        assert {status_of(connection) for connection in waiting} == {201}
