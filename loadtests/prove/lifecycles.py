"""Merchants who use every operation: charge, authorize, capture in parts, void, refund, 3-D Secure, review, dispute."""

import http.client
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from random import Random
from typing import Any
from urllib.parse import urlencode, urlsplit
from uuid import UUID

from fintech.testing.processes import Load, Reply
from loadtests.own_platform import OwnPlatform
from loadtests.random_payments import new_payment

PATH = "/v1/transactions"
PAUSE_SECONDS = 0.2
# The tries of one request: a merchant repeats it with its key until it is answered.
TRIES = 20

RETURN_HOST = "shop.example"
CHALLENGED = 941  # the last three digits of an amount that the gateway challenges
CHALLENGE_SECONDS = 10
RISKY = {"type": "card", "token": "tok_risky", "country": "DE"}


class Lifecycles(Load):
    """Each merchant takes one payment after the other through a random life, whatever dies meanwhile."""

    def __init__(
        self,
        own: OwnPlatform,
        *,
        merchants: int = 3,
        request: Callable[..., Reply] | None = None,
        has_disputes: bool = False,
    ) -> None:
        """`request` sends to another host than the first. Events about disputes go to the first."""
        super().__init__([partial(self._run, Random(seed)) for seed in range(merchants)])
        self._own, self._api_key = own, own.api_key
        self._request = request or own.platform.request
        self._has_disputes = has_disputes
        own.query("UPDATE payments_merchant SET return_hosts = %s, review_threshold = 0.5 RETURNING id", [RETURN_HOST])
        # A customer who does not answer delays the rest by this.
        own.gateway.profile(challenge_seconds=CHALLENGE_SECONDS)
        if has_disputes:
            own.gateway.profile(events_url=f"{own.platform.url}/gateway/events")

    def _run(self, random: Random) -> None:
        while not self.stopped.wait(PAUSE_SECONDS):
            captures_later = random.random() < 0.6
            payment = self._send(random, PATH, self._order(random) | {"capture": not captures_later})
            if payment is None:
                continue
            self._authenticate(random, payment)
            self._review(random, payment)
            if captures_later:
                self._capture_or_void(random, payment)
            elif not self._dispute(random, payment):
                self._refund(random, payment)

    def _order(self, random: Random) -> dict[str, Any]:
        order, draw = new_payment(random).body, random.random()
        if draw < 0.15:
            amount = order["amount"] - order["amount"] % 1000 + CHALLENGED
            return order | {"amount": amount, "return_url": f"https://{RETURN_HOST}/back"}
        return order | {"payment_method": RISKY} if draw < 0.3 else order

    def _authenticate(self, random: Random, payment: dict[str, Any]) -> None:
        """Let the customer answer the challenge, if there is one."""
        if payment["status"] == "requires_action":
            url = urlsplit(payment["next_action"]["url"])
            form = urlencode({"answer": random.choice(["accept", "accept", "refuse"])})
            connection = http.client.HTTPConnection(url.netloc, timeout=5)
            with suppress(OSError, http.client.HTTPException):
                connection.request("POST", url.path, form, {"Content-Type": "application/x-www-form-urlencoded"})
                connection.getresponse().read()
            connection.close()

    def _review(self, random: Random, payment: dict[str, Any]) -> None:
        if payment["status"] == "in_review":
            decision = random.choice(["accept", "accept", "refuse"])
            self._send(random, f"{PATH}/{payment['id']}/review", {"decision": decision})

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

    def _dispute(self, random: Random, payment: dict[str, Any]) -> bool:
        """Let the bank dispute some payments, and decide most of these disputes. Return True if it disputes this."""
        if not self._has_disputes or payment["status"] != "succeeded" or random.random() >= 0.2:
            return False
        [[key]] = self._own.query("SELECT gateway_key FROM payments_transaction WHERE id = %s", payment["id"])
        with suppress(OSError, http.client.HTTPException):
            opened = self._control("/control/disputes", {"charge": str(key)})
            if random.random() < 0.7:
                self._control(f"/control/disputes/{opened['dispute']}", {"state": random.choice(["won", "lost"])})
        return True

    def _control(self, path: str, body: dict[str, Any]) -> Any:
        return self._own.gateway.request("POST", path, body, token=self._own.gateway.control_token).body

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
