"""Deliver what is queued: at least once, in order for each endpoint, and no endpoint waits for another.

A worker leases the endpoints that have something due, so several workers share them (`leases.py`). One task sends to
each endpoint, one event after the other. The result is stored before the next event is sent. A worker that dies between
sending and storing lets the lease run out, and the event is sent again, with the same `webhook-id`.
"""

import asyncio
import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from datetime import UTC, datetime
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from django.db import connection

from fintech.errors import DATABASE_ERRORS
from payments import metrics
from payments.webhooks.leases import Lease, Turn, acquire_endpoints, read_turn, release, store, surrender
from payments.webhooks.signing import sign

if TYPE_CHECKING:
    from payments.webhooks.transport import Transport

logger = logging.getLogger("payments.webhooks")

MAX_ENDPOINTS = 500  # that one worker serves at the same time
DATABASE_THREADS = 4
NAME_THREADS = 64

P = ParamSpec("P")
R = TypeVar("R")


def make_transport() -> "Transport":
    """Load aiohttp with the first delivery only: it is a sixth of a worker's start."""
    from payments.webhooks.transport import Transport

    return Transport()


class Deliverer:
    """The turns of one worker: tasks of an event loop in a thread of its own."""

    def __init__(self, transport: "Callable[[], Transport]" = make_transport) -> None:
        self._make_transport = transport
        self._transport: Transport | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._database = ThreadPoolExecutor(DATABASE_THREADS, thread_name_prefix="webhooks-database")
        self._turns: set[Future[None]] = set()
        self._stopping = False

    def start_turns(self) -> int:
        """Begin a turn for each endpoint that is due and free. Returns their number."""
        self._turns = {turn for turn in self._turns if not turn.done()}
        free = MAX_ENDPOINTS - len(self._turns)
        leases = acquire_endpoints(free) if free else []
        for lease in leases:
            self._turns.add(asyncio.run_coroutine_threadsafe(self._take_turn(lease), self._running_loop()))
        return len(leases)

    def wait(self) -> None:
        """Wait for the turns that have begun."""
        wait(self._turns)

    def stop(self) -> None:
        """End after the requests that are under way."""
        self._stopping = True
        self.wait()
        if self._loop is not None and self._thread is not None:
            if self._transport is not None:
                asyncio.run_coroutine_threadsafe(self._transport.close(), self._loop).result()
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()
        self._database.shutdown()

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            # Names are resolved there, and a slow name server must not delay other endpoints.
            self._loop.set_default_executor(ThreadPoolExecutor(NAME_THREADS, thread_name_prefix="webhooks-names"))
            self._thread = threading.Thread(target=self._loop.run_forever, name="webhooks", daemon=True)
            self._thread.start()
        return self._loop

    async def _take_turn(self, lease: Lease) -> None:
        try:
            turn = await self._query(read_turn, lease)
            if turn is not None:
                await self._send(lease, turn)
            await self._query(release, lease)
        except Exception as error:  # the time of the lease runs out, and another turn tries again
            await self._query(surrender, lease)
            trace = None if isinstance(error, DATABASE_ERRORS) else error
            extra = {"endpoint": str(lease.endpoint_id), "error": f"{type(error).__name__}: {error}"[:200]}
            logger.warning("webhook_turn_failed", exc_info=trace, extra=extra)
            metrics.WEBHOOK_TURN_ERRORS.inc()

    async def _send(self, lease: Lease, turn: Turn) -> None:
        if self._transport is None:
            self._transport = self._make_transport()
        for message in turn.messages:
            if self._stopping:
                return
            headers = sign(turn.secrets, str(message.event_id), datetime.now(UTC), message.body)
            result = await self._transport.post(lease.url, message.body, headers)
            if not await self._query(store, lease, message.delivery_id, result):
                return

    async def _query(self, function: Callable[P, R], *args: P.args, **options: P.kwargs) -> R:
        def run() -> R:
            try:
                return function(*args, **options)
            finally:
                connection.close()

        return await asyncio.get_running_loop().run_in_executor(self._database, run)
