"""Disputes: opened and decided by the control interface, answered by the payments service. Each change is an event."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from loadtests.gateway.events import event_body
from loadtests.gateway.orders import MAX_AMOUNT, BadOrder
from loadtests.gateway.store import Decision, Dispute, Store, new_reference

# State -> the states that the bank may decide on, by the control interface.
DECISIONS = {
    "opened": ("needs_response", "lost"),
    "needs_response": ("lost",),
    "under_review": ("won", "lost", "pre_arbitration"),
    "pre_arbitration": ("lost",),
    "final_review": ("won", "lost"),
}
RESPONSES = {"needs_response": "under_review", "pre_arbitration": "final_review"}
ACCEPTABLE = ("opened", *RESPONSES)
DEFAULT_FEE = 1500
DEFAULT_EVIDENCE_SECONDS = 7 * 86_400
MAX_EVIDENCE_SECONDS = 120 * 86_400


def describe_dispute(dispute: Dispute) -> dict[str, Any]:
    return {
        "dispute": dispute.id,
        "sequence": dispute.sequence,
        "charge": dispute.charge,
        "charged_at": dispute.charged_at,
        "state": dispute.state,
        "amount": dispute.amount,
        "currency": dispute.currency,
        "fee": dispute.fee,
        "reason": dispute.reason,
        "evidence_due_at": dispute.due,
    }


class Disputes:
    def __init__(self, store: Store) -> None:
        self._store = store

    def open(self, content: dict[str, Any]) -> Dispute:
        """Hold the money of a charge back, and ask for evidence unless `request_evidence` is false."""
        charge = content.get("charge")
        left = self._store.left_to_refund(charge) if isinstance(charge, str) else None
        if left is None or not isinstance(charge, str):
            raise BadOrder(422, "charge_not_found", "charge must be the key of a charge that took money.")
        amount = _whole_number(content, "amount", max(left[0], 1), 1, MAX_AMOUNT)
        if amount > left[0]:
            raise BadOrder(422, "exceeds_charge", f"{left[0]} of the charge is left.")
        seconds = _whole_number(content, "evidence_seconds", DEFAULT_EVIDENCE_SECONDS, 0, MAX_EVIDENCE_SECONDS)
        kind = "charge" if self._store.find("charge", charge) else "authorization"
        dispute = Dispute(
            id=str(uuid4()),
            charge=charge,
            charged_at=self._store.decided_at(kind, charge),
            amount=amount,
            currency=left[1],
            fee=_whole_number(content, "fee", DEFAULT_FEE, 0, MAX_AMOUNT),
            reason=_text(content, "reason", "fraudulent"),
            state="opened",
            sequence=1,
            due=None,
        )
        self._save(dispute, _movement("dispute", dispute, dispute.amount + dispute.fee))
        return self._change(dispute, "needs_response", seconds) if content.get("request_evidence", True) else dispute

    def decide(self, identifier: str, content: dict[str, Any]) -> Dispute:
        dispute = self.find(identifier)
        state = content.get("state")
        if state not in DECISIONS.get(dispute.state, ()):
            raise BadOrder(409, "wrong_state", f"A dispute that is {dispute.state} cannot become {state!r:.40}.")
        seconds = _whole_number(content, "evidence_seconds", DEFAULT_EVIDENCE_SECONDS, 0, MAX_EVIDENCE_SECONDS)
        return self._change(dispute, state, seconds)

    def find(self, identifier: str) -> Dispute:
        dispute = self._store.find_dispute(identifier)
        if dispute is None:
            raise BadOrder(404, "dispute_not_found", "No such dispute exists.")
        return dispute

    def respond(self, identifier: str, key: str, *, accepts: bool) -> bool:
        """Take evidence or an acceptance, once by its key. Returns False if the dispute takes none now."""
        if self._store.has_response(key):
            return True
        dispute = self.find(identifier)
        if dispute.state not in (ACCEPTABLE if accepts else RESPONSES):
            return False
        self._change(dispute, "lost" if accepts else RESPONSES[dispute.state])
        self._store.add_response(key)
        return True

    def _change(self, dispute: Dispute, state: str, seconds: int = 0) -> Dispute:
        due = dispute.due
        if state in RESPONSES:
            due = (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()
        dispute = dispute._replace(state=state, sequence=dispute.sequence + 1, due=due)
        self._save(dispute, _movement("dispute_return", dispute, dispute.amount) if state == "won" else None)
        return dispute

    def _save(self, dispute: Dispute, moved: Decision | None) -> None:
        self._store.save_dispute(dispute, moved, event_body("dispute.changed", describe_dispute(dispute)))


def _movement(kind: str, dispute: Dispute, amount: int) -> Decision:
    return Decision(
        kind,
        dispute.id,
        "approved",
        charge=dispute.charge,
        amount=amount,
        currency=dispute.currency,
        reference=new_reference(),
    )


def _whole_number(content: dict[str, Any], name: str, default: int, least: int, most: int) -> int:
    value = content.get(name, default)
    if type(value) is not int or not least <= value <= most:
        raise BadOrder(422, "invalid_request", f"{name} must be a whole number from {least} to {most}.")
    return value


def _text(content: dict[str, Any], name: str, default: str) -> str:
    value = content.get(name, default)
    if type(value) is not str or not 1 <= len(value) <= 100:
        raise BadOrder(422, "invalid_request", f"{name} must be a text of 1 to 100 characters.")
    return value
