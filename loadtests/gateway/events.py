"""Events that the simulator sends: signed by the Standard Webhooks specification, at least once, retried in pauses."""

import asyncio
import base64
import hashlib
import hmac
import time
from collections.abc import Callable
from typing import Any, Protocol

import aiohttp
import orjson

TIMEOUT_SECONDS = 5
MAX_PAUSE_SECONDS = 60.0
IDLE_SECONDS = 0.2


class Outbox(Protocol):
    """The store's part that the sender needs."""

    def unsent_events(self) -> list[tuple[str, bytes]]: ...
    def mark_sent(self, identifier: str) -> None: ...


def sign(secret: str, identifier: str, timestamp: int, body: bytes) -> dict[str, str]:
    key = base64.b64decode(secret.removeprefix("whsec_"))
    digest = hmac.new(key, f"{identifier}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    return {
        "webhook-id": identifier,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
        "Content-Type": "application/json",
    }


class EventSender:
    """Sends what the store holds, oldest first. An event that was not taken waits; those behind it do not."""

    def __init__(
        self, store: Outbox, *, url: str, secret: str, signing: Callable[[str, str, int, bytes], dict[str, str]] = sign
    ) -> None:
        self.url = url
        self._sign = signing
        self._store, self._secret = store, secret
        self._paused: dict[str, tuple[float, float]] = {}  # id -> due, pause

    async def run(self) -> None:
        """Send until cancelled."""
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            while True:
                if self.url:
                    for identifier, body in self._store.unsent_events():
                        if self._paused.get(identifier, (0.0, 0.0))[0] <= time.monotonic():
                            await self._send(session, identifier, body)
                await asyncio.sleep(IDLE_SECONDS)

    async def _send(self, session: aiohttp.ClientSession, identifier: str, body: bytes) -> None:
        headers = self._sign(self._secret, identifier, int(time.time()), body)
        try:
            async with session.post(self.url, data=body, headers=headers, allow_redirects=False) as answer:
                taken = answer.ok
        except (aiohttp.ClientError, TimeoutError):
            taken = False
        if taken:
            self._store.mark_sent(identifier)
            self._paused.pop(identifier, None)
        else:
            _, pause = self._paused.get(identifier, (0.0, 0.25))
            pause = min(MAX_PAUSE_SECONDS, 2 * pause)
            self._paused[identifier] = time.monotonic() + pause, pause


def event_body(event_type: str, data: dict[str, Any]) -> bytes:
    return orjson.dumps({"type": event_type, "timestamp": int(time.time()), "data": data})
