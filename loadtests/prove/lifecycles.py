"""Merchants who use every operation: charge, authorize, capture in parts, void and refund."""

import http.client
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from random import Random
from typing import Any
from uuid import UUID

from fintech.testing.processes import Load, Reply
from loadtests.own_platform import OwnPlatform
from loadtests.random_payments import new_payment

PATH = "/v1/transactions"
PAUSE_SECONDS = 0.2
# The tries of one request: a merchant repeats it with its key until it is answered.
TRIES = 20


class Lifecycles(Load):
    """Each merchant takes one payment after the other through a random life, whatever dies meanwhile."""

    def __init__(self, own: OwnPlatform, *, merchants: int = 3, request: Callable[..., Reply] | None = None) -> None:
        """`request` sends to another host than the first."""
        super().__init__([partial(self._run, Random(seed)) for seed in range(merchants)])
        self._request = request or own.platform.request
        self._api_key = own.api_key

    def _run(self, random: Random) -> None:
        while not self.stopped.wait(PAUSE_SECONDS):
            captures_later = random.random() < 0.7
            body = new_payment(random).body | {"capture": not captures_later}
            payment = self._send(random, PATH, body)
            if payment is not None:
                (self._capture_or_void if captures_later else self._refund)(random, payment)

    def _capture_or_void(self, random: Random, payment: dict[str, Any]) -> None:
        path = f"{PATH}/{payment['id']}"
        while random.random() < 0.4:
            self._send(random, f"{path}/captures", {"amount": max(1, payment["amount"] // 10), "final": False})
        if random.random() < 0.4:
            self._send(random, f"{path}/void", {"reason": "load with kills"})
        elif random.random() < 0.9:  # the others stay authorized
            self._send(random, f"{path}/captures", {})
        self._refund(random, payment)

    def _refund(self, random: Random, payment: dict[str, Any]) -> None:
        if random.random() < 0.3:
            self._send(random, f"{PATH}/{payment['id']}/refunds", {"amount": max(1, payment["amount"] // 20)})

    def _send(self, random: Random, path: str, body: dict[str, Any]) -> Any:
        """Return the answer's body, or None if the load ends before there is one."""
        key = str(UUID(int=random.getrandbits(128)))
        for _ in range(TRIES):
            with suppress(OSError, http.client.HTTPException):
                reply = self._request("POST", path, body, api_key=self._api_key, key=key, timeout=5)
                if reply.status < 500 and not self._is_in_flight(reply.body):
                    return reply.body if reply.status < 300 else None
            if self.stopped.wait(PAUSE_SECONDS):
                return None
        return None

    @staticmethod
    def _is_in_flight(body: Any) -> bool:
        return isinstance(body, dict) and body.get("code") == "request_in_flight"
