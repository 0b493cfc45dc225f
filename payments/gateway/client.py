"""The HTTP client of gateways (acquirers): pooled, bounded in time, and exact about what is not known.

Every call ends in one of these outcomes, and each attempt is counted by its own:

* approved, declined    the gateway's decision
* requires_action       the customer must authenticate first (3-D Secure); only of calls that allow it
* error                 the gateway reports that it failed and did not charge
* unavailable           the gateway was not reached, or reports that it did not try: nothing was charged
* timeout               no answer, or none that can be read: the outcome is unknown

Only `unavailable` is tried again, with the same key, while the deadline allows. After a `timeout` the resolver asks;
another attempt would only delay the caller.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any
from uuid import UUID

import msgspec
import orjson
import urllib3
from django.conf import settings
from urllib3.exceptions import HTTPError

from fintech.server import cooperation
from fintech.telemetry import tracing
from payments import metrics
from payments.gateway.answers import read_answer
from payments.gateway.base import Answer, Exchange, GatewayError
from payments.gateway.circuit_breaker import CircuitBreaker
from payments.gateway.transport import NoAnswer, NotReached, ThreadTransport

if TYPE_CHECKING:
    from payments.gateway.loop_transport import LoopTransport

MAX_ATTEMPTS = 3
MAX_ANSWER_BYTES = 16 * 1024
MAX_PAGE_BYTES = 16 * 1024 * 1024  # a page of the gateway's record
PAGE_SECONDS = 30  # for such a page
PAUSE_SECONDS = 0.1  # before the second attempt, twice that before the third

Reader = Callable[[int, Any], Answer]


@dataclass(frozen=True, slots=True)
class _Call:
    operation: str
    path: str
    key: UUID
    body: dict[str, Any] | None
    read: Reader


class HttpClient:
    """Calls of one gateway: its address, its connections, its circuit breaker and its counters."""

    content_type = "application/json"
    max_answer_bytes = MAX_ANSWER_BYTES

    def __init__(self, url: str, token: str, *, name: str) -> None:
        self.name = name
        self._url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {token}"}
        self._in_threads = ThreadTransport(self.max_answer_bytes)
        self._calls = metrics.GatewayCalls(name)
        self._breaker = CircuitBreaker(on_change=self._calls.note_circuit)

    @cached_property
    def _on_loop(self) -> "LoopTransport":
        from payments.gateway.loop_transport import LoopTransport  # the web alone loads aiohttp

        return LoopTransport(self.max_answer_bytes)

    def encode(self, body: dict[str, Any]) -> bytes:
        return msgspec.json.encode(body)  # it holds the request's own structures

    def journal(self, content: Any) -> Any:
        """Return the part of an answer that the journal keeps."""
        return content

    def _call(
        self, operation: str, path: str, key: UUID, body: dict[str, Any] | None, read: Reader | None = None
    ) -> Answer:
        """Try until an answer ends the call, or the deadline passes. Without a body, the call only looks something up.

        `read` returns the outcome in an answer.
        """
        call = _Call(operation, path, key, body, read or read_answer)
        start = time.monotonic()
        deadline = start + settings.GATEWAY_DEADLINE_SECONDS
        exchanges: list[Exchange] = []
        for attempt in range(1, MAX_ATTEMPTS + 1):
            answer = self._guarded_attempt(call, deadline)
            exchanges += answer.exchanges
            pause = PAUSE_SECONDS * 2 ** (attempt - 1)
            if answer.outcome != "unavailable" or answer.code == "circuit_open":
                break
            if attempt == MAX_ATTEMPTS or time.monotonic() + pause >= deadline:
                break
            cooperation.sleep(pause)
        answer.exchanges, answer.seconds = exchanges, time.monotonic() - start
        return answer

    def _guarded_attempt(self, call: _Call, deadline: float) -> Answer:
        if not self._breaker.allows():
            self._calls.refused()
            return Answer("unavailable", "circuit_open")
        attributes = {"peer.service": "gateway", "gateway.name": self.name}
        with tracing.step(f"gateway {call.operation}", attributes, kind="client") as step:
            answer = self._attempt(call, deadline, step=step)
            failed = answer.outcome in ("timeout", "error", "unavailable")
            step.note({"gateway.outcome": answer.outcome}, failed=failed)
        if _shows_a_fault(answer):
            self._breaker.failed()
        else:
            self._breaker.succeeded()
        return answer

    def _attempt(self, call: _Call, deadline: float, *, step: tracing.AnyStep) -> Answer:
        start = time.monotonic()
        timeout = max(0.01, min(settings.GATEWAY_TIMEOUT_SECONDS, deadline - start))
        try:
            transport = self._on_loop if cooperation.on_loop() else self._in_threads
            method, body, headers = self._request(call)
            received = transport.send(method, self._url + call.path, body, {**headers, **step.headers}, timeout)
            status_code, content = received.status, _content(received.content, self.max_answer_bytes)
            answer = call.read(status_code, content)
            content = self.journal(content)
            if span := tracing.parse(received.traceresponse):
                step.note({"gateway.span_id": f"{span[1]:016x}"})
        except NotReached as error:
            status_code, content = None, str(error)
            answer = Answer("unavailable", "not_reached")
        except NoAnswer as error:
            status_code, content = None, str(error)
            answer = Answer("timeout", "no_answer")
        seconds = time.monotonic() - start
        self._calls.ended(answer.outcome, seconds)
        answer.exchanges = [Exchange(call.operation, answer.outcome, status_code, content, round(seconds * 1000, 2))]
        return answer

    def _request(self, call: _Call) -> tuple[str, bytes | None, dict[str, str]]:
        """Return the method, the body and the headers of a request."""
        if call.body is None:
            return "GET", None, self._headers
        headers = {"Content-Type": self.content_type, "Idempotency-Key": str(call.key)}
        return "POST", self.encode(call.body), self._headers | headers

    def _read(self, path: str, *, seconds: float = PAGE_SECONDS) -> dict[str, Any]:
        try:
            limits = urllib3.Timeout(connect=1, read=seconds)
            response = self._in_threads.pool.request(
                "GET", self._url + path, headers=self._headers, timeout=limits, preload_content=False
            )
            content = response.read(MAX_PAGE_BYTES + 1)
        except HTTPError as error:
            raise GatewayError(f"the gateway does not answer: {type(error).__name__}") from error
        if len(content) > MAX_PAGE_BYTES:
            response.close()
            raise GatewayError(f"the gateway's answer is larger than {MAX_PAGE_BYTES} bytes")
        if response.status != 200:
            raise GatewayError(f"the gateway answered {response.status}")
        try:
            return orjson.loads(content)
        except orjson.JSONDecodeError as error:
            raise GatewayError("the gateway's answer is not JSON") from error


def _shows_a_fault(answer: Answer) -> bool:
    """Return True if the gateway does not work.

    One that answers an unclear 404, or "not yet", works: what it says of one operation must not stop all others.
    """
    if answer.outcome == "timeout":
        status_code = answer.exchanges[-1].status_code
        return status_code is None or status_code >= 500 or answer.code == "unreadable_answer"
    return answer.outcome == "unavailable"


def _content(data: bytes, limit: int) -> Any:
    """Return the answer if it is JSON that the journal can store: bounded, and without NUL."""
    if len(data) > limit or b"\\u0000" in data:
        return None
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        return None
