"""The decisions about orders: one for each key, by the state of what the order follows."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from loadtests.gateway import authentication
from loadtests.gateway.authentication import Authentication
from loadtests.gateway.events import event_body
from loadtests.gateway.orders import Order
from loadtests.gateway.outcomes import Behaviour
from loadtests.gateway.profile import Profile
from loadtests.gateway.store import Decision, Store, new_reference


class Decisions:
    """Finds, makes and announces decisions. `profile` returns the faults and times that hold now."""

    def __init__(self, store: Store, profile: Callable[[], Profile]) -> None:
        self._store, self._profile = store, profile

    # --- By key --------------------------------------------------------------------------------------------

    def find(self, kind: str, key: str) -> Decision | Authentication | None:
        """Return the decision for a key, or the challenge that it waits for. A challenge ends with its time."""
        decision = self._store.find(kind, key)
        challenge = None if decision else self._store.find_authentication(kind, key)
        if challenge is None or not challenge.is_challenge:
            return decision
        return self.end_challenge(challenge, authentication.EXPIRED) if challenge.is_over else challenge

    def is_open(self, challenge: Authentication) -> bool:
        return isinstance(self.find(challenge.kind, challenge.key), Authentication)

    def end_challenge(self, challenge: Authentication, code: str | None) -> Decision:
        """Decide the order: approved, or declined with a code. The first decision stays, and is announced once."""
        decision, first = self._store.decide(
            Decision(
                kind=challenge.kind,
                key=challenge.key,
                outcome="declined" if code else "approved",
                code=code,
                amount=challenge.amount,
                currency=challenge.currency,
                reference=None if code else new_reference(),
            )
        )
        if first:
            self.announce(decision)
        return decision

    # --- A new order ---------------------------------------------------------------------------------------

    def authenticate(self, order: Order) -> Authentication | None:
        """Store the authentication that the amount asks for. Return it if it is a challenge."""
        outcome = authentication.OUTCOMES.get(order.amount % 1000)
        if outcome is None or order.return_url is None:
            return None
        expires_at = time.time() + self._profile().challenge_seconds
        of_order = order.kind, order.key, outcome, order.amount, order.currency, order.return_url
        kept = self._store.authenticate(Authentication(*of_order, uuid4().hex, expires_at))
        return kept if kept.is_challenge else None

    def complete_void(self, order: Order) -> Order:
        """Return the void of what is left, or of nothing, which is then refused."""
        left = self._store.left_to_capture(order.charge or "")
        amount, currency, _ = left or (1, "XXX", True)
        return order._replace(amount=max(amount, 1), currency=currency)

    def decide(self, order: Order, behaviour: Behaviour) -> tuple[Decision, bool]:
        """Return the decision, and True if it is the first one for the key."""
        if order.kind == "void":
            order = self.complete_void(order)
        code = behaviour.code or self._refusal(order)
        return self._store.decide(
            Decision(
                kind=order.kind,
                key=order.key,
                outcome="declined" if code else "approved",
                code=code,
                charge=order.charge,
                amount=order.amount,
                currency=order.currency,
                reference=None if code else new_reference(),
                final=None if order.final is None else int(order.final),
            )
        )

    def _refusal(self, order: Order) -> str | None:
        """Return the reason why an operation that follows another is refused, if any."""
        if order.charge is None:
            return authentication.REQUIRED if authentication.is_refused(order) else None
        if order.kind in ("capture", "void"):
            return self._refusal_by_authorization(order, order.charge)
        left = self._store.left_to_refund(order.charge)
        if left is None:
            return "charge_not_found"
        if self._store.is_disputed(order.charge):
            return "charge_disputed"
        amount, currency = left
        if order.currency != currency:
            return "currency_differs"
        return "exceeds_charge" if order.amount > amount else None

    def _refusal_by_authorization(self, order: Order, authorization: str) -> str | None:
        left = self._store.left_to_capture(authorization)
        if left is None:
            return "authorization_not_found"
        amount, currency, is_closed = left
        if is_closed:
            return "authorization_closed"
        # A void of an expired one is approved, because nothing is held any more.
        if order.kind == "capture" and self._has_expired(authorization):
            return "authorization_expired"
        if order.currency != currency:
            return "currency_differs"
        return "exceeds_authorization" if order.amount > amount else None

    def _has_expired(self, authorization: str) -> bool:
        age = datetime.now(UTC) - datetime.fromisoformat(self._store.decided_at("authorization", authorization))
        return age.total_seconds() >= self._profile().authorization_seconds

    # --- For the caller ------------------------------------------------------------------------------------

    def describe(self, decision: Decision) -> dict[str, Any]:
        """Return the answer of a charge, its replay and its lookup, without columns that do not apply."""
        body: dict[str, Any] = {
            name: value for name, value in zip(Decision._fields, decision, strict=True) if value is not None
        }
        del body["kind"]
        found = self._store.find_authentication(decision.kind, decision.key)
        if found and decision.outcome != "cancelled":
            body["authentication"] = found.describe(outcome=decision.outcome, code=decision.code)
        return body

    def announce(self, decision: Decision) -> None:
        """Send the decision as an event, for a caller that did not get its answer in time."""
        names = ("key", "outcome", "amount", "currency", "reference", "code")
        described = self.describe(decision)
        data = {name: described[name] for name in (*names, "authentication") if name in described}
        self._store.add_event(event_body(f"{decision.kind}.decided", data))
