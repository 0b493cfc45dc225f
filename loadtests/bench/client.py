"""A small, cheap HTTP/1.1 client, because the benchmark measures the servers."""

import asyncio
import json
import random
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

BODY = {
    "amount": 1250,
    "currency": "EUR",
    "customer": "c_42",
    "reference": "order-7",
    "payment_method": {"type": "card", "token": "tok_visa", "country": "DE"},
}

# How the result of a new, known payment begins in the answer to a batch; texts have their quotes escaped.
STORED = b'{"status_code":201,'


@dataclass
class Result:
    """The result of one round of load."""

    seconds: float
    payments: int
    latencies: list[float] = field(default_factory=list)  # of the requests, in seconds
    errors: int = 0  # requests, or items of a batch, that were refused or not answered
    # Processor time per payment, in milliseconds.
    web_ms: float = 0.0
    postgres_ms: float = 0.0
    client_ms: float = 0.0

    @property
    def rate(self) -> float:
        return self.payments / self.seconds

    def percentile(self, share: float) -> float:
        """Return a percentile in milliseconds."""
        ordered = sorted(self.latencies) or [0.0]
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000


class Connection(asyncio.Protocol):
    """A keep-alive connection that sends the next request when the previous answer is complete, and after a pause."""

    def __init__(
        self, make_request: Callable[[], bytes], payments: int, result: Result, until: float, pause: Callable[[], float]
    ) -> None:
        self._make, self._payments, self._result, self._until = make_request, payments, result, until
        self._pause, self._waits = pause, False
        self.closed = asyncio.get_running_loop().create_future()
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's, which is no subclass
        self._send_next()

    def _send_next(self) -> None:
        seconds = self._pause()
        if seconds > 0:
            asyncio.get_running_loop().call_later(seconds, self._send)
        else:
            self._send()

    def _send(self) -> None:
        self._waits, self._sent = True, time.perf_counter()
        self._transport.write(self._make())

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, gap, rest = self._buffer.partition(b"\r\n\r\n")
        if not gap:
            return
        if len(rest) < content_length(head):
            return
        self._buffer, self._waits = b"", False
        now = time.perf_counter()
        if head[9:12] in (b"200", b"201"):
            stored = rest.count(STORED) if self._payments > 1 else 1
            self._result.payments += stored
            self._result.errors += self._payments - stored
            self._result.latencies.append(now - self._sent)
        else:
            self._result.errors += 1
        if now < self._until and b"\r\nconnection: close" not in head.lower():
            self._send_next()
        else:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._waits:
            self._result.errors += 1
        if not self.closed.done():
            self.closed.set_result(None)


def content_length(head: bytes) -> int:
    start = head.lower().index(b"content-length:") + 15
    end = head.find(b"\r\n", start)
    return int(head[start:] if end < 0 else head[start:end])


def payment_requests(
    path: str, headers: dict[str, str], *, batch: int = 0, make_body: Callable[[], str] | None = None
) -> Callable[[], bytes]:
    """Create new requests: each payment has its own key, in the header, or in the items of a batch.

    `make_body` creates the body of each single payment; by default, all have the same one.
    """
    fixed = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    fixed += "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    same = json.dumps(BODY)

    def one() -> bytes:
        body = make_body() if make_body else same
        return f"{fixed}Idempotency-Key: {uuid.uuid4()}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()

    def many() -> bytes:
        items = ",".join(f'{{"idempotency_key":"{uuid.uuid4()}",{same[1:]}' for _ in range(batch))
        content = f'{{"items":[{items}]}}'
        return f"{fixed}Content-Length: {len(content)}\r\n\r\n{content}".encode()

    return many if batch else one


def held_rate(rate: float) -> Callable[[], float]:
    """Return the pauses before the next requests of all clients, so that they send `rate` a second, at random times."""
    due = time.perf_counter()

    def pause() -> float:
        nonlocal due
        due += random.expovariate(rate)
        return due - time.perf_counter()

    return pause


def run_load(
    port: int,
    make_request: Callable[[], bytes],
    *,
    clients: int,
    seconds: float,
    payments: int = 1,
    pause: Callable[[], float] = lambda: 0.0,
) -> Result:
    """Run `clients` for `seconds`, by default without pauses; each connects again when the server closes the
    connection.

    `payments`: the number of payments per request.
    """

    result = Result(seconds=seconds, payments=0)

    async def client(until: float) -> None:
        loop = asyncio.get_running_loop()
        while time.perf_counter() < until:
            _, protocol = await loop.create_connection(
                lambda: Connection(make_request, payments, result, until, pause), "127.0.0.1", port
            )
            await protocol.closed

    async def main() -> Result:
        start = time.perf_counter()
        everybody = asyncio.gather(*(client(start + seconds) for _ in range(clients)))
        await asyncio.wait_for(everybody, seconds + 30)
        result.seconds = time.perf_counter() - start
        return result

    import uvloop

    return uvloop.run(main())
