"""Disputes: opened and decided by the control interface, answered by the payments service. Each change is an event."""

import time
from typing import Any
from uuid import uuid4

from loadtests.gateway.disputes import DEFAULT_EVIDENCE_SECONDS, DEFAULT_FEE
from loadtests.stripe.objects import BadRequest, Form, Objects, Result, error, read_metadata
from loadtests.stripe.store import Object, Store

# Status -> those that the bank may decide on. An inquiry (`warning_...`) moves no money.
DECISIONS = {
    "warning_needs_response": ("needs_response", "warning_closed"),
    "warning_under_review": ("needs_response", "warning_closed"),
    "needs_response": ("under_review", "lost"),
    "under_review": ("won", "lost"),
}
RESPONSES = {"needs_response": "under_review", "warning_needs_response": "warning_under_review"}
ENDS = ("won", "lost", "warning_closed")


class Disputes:
    def __init__(self, store: Store, objects: Objects) -> None:
        self._store, self._objects = store, objects

    def open(self, content: dict[str, Any]) -> Object:
        """Dispute the payment `charge`: its id or our key. With `"status": "warning_needs_response"`, ask about it."""
        named, intents = content.get("charge"), self._store.newest("payment_intent")
        intent = next((one for one in intents if named in (one["id"], one["metadata"].get("key"))), None)
        left = self._objects.left_of(intent) if intent else 0
        if intent is None or not 0 < content.get("amount", left) <= left:
            raise BadRequest("charge must be the id or the key of a payment that took money", param="charge")
        seconds = content.get("evidence_seconds", DEFAULT_EVIDENCE_SECONDS)
        dispute: Object = {
            "id": f"dp_{uuid4().hex}",
            "object": "dispute",
            "amount": content.get("amount", left),
            "balance_transactions": [],
            "charge": intent["latest_charge"],
            "created": int(time.time()),
            "currency": intent["currency"],
            "evidence": {"uncategorized_text": None},
            "evidence_details": {"due_by": int(time.time()) + seconds if seconds else None, "submission_count": 0},
            "metadata": {},
            "payment_intent": intent["id"],
            "reason": content.get("reason", "fraudulent"),
            "status": content.get("status", "needs_response"),
        }
        self._save(dispute, "created")
        if dispute["status"] == "needs_response":
            self._withdraw(dispute, content.get("fee", DEFAULT_FEE))
        return dispute

    def decide(self, identifier: str, content: dict[str, Any]) -> Object:
        dispute = self._objects.find(identifier, "dispute")
        status = content.get("state")
        if status not in DECISIONS.get(dispute["status"], ()):
            raise BadRequest(f"A dispute that is {dispute['status']} cannot become {status!r:.40}", param="state")
        was_inquiry = dispute["status"].startswith("warning_")
        if was_inquiry and status == "needs_response":
            left = self._objects.left_of(self._objects.find(dispute["payment_intent"], "payment_intent"))
            if dispute["amount"] > left:
                raise BadRequest("The payment is refunded or disputed", param="state")
        dispute["status"] = status
        self._save(dispute, "closed" if status in ENDS else "updated")
        if status == "needs_response" and was_inquiry:
            self._withdraw(dispute, content.get("fee", DEFAULT_FEE))
        if status == "won":
            self._move(dispute, dispute["amount"], 0, "funds_reinstated")
        return dispute

    def respond(self, identifier: str, form: Form) -> Result:
        dispute = self._objects.find(identifier, "dispute")
        if dispute["status"] not in RESPONSES:
            return 400, error("invalid_request_error", f"This dispute is {dispute['status']}.")
        dispute["evidence"] = {"uncategorized_text": form.get("evidence[uncategorized_text]")}
        dispute["metadata"] |= read_metadata(form)
        if form.get("submit") == "true":
            dispute["status"] = RESPONSES[dispute["status"]]
            dispute["evidence_details"]["submission_count"] += 1
        self._save(dispute, "updated")
        return 200, dispute

    def close(self, identifier: str) -> Result:
        dispute = self._objects.find(identifier, "dispute")
        if dispute["status"] in ENDS:
            return 400, error("invalid_request_error", "This dispute is already closed.")
        dispute["status"] = "lost"
        self._save(dispute, "closed")
        return 200, dispute

    def _withdraw(self, dispute: Object, fee: int) -> None:
        self._move(dispute, -dispute["amount"], fee, "funds_withdrawn")

    def _move(self, dispute: Object, amount: int, fee: int, change: str) -> None:
        moved = {"object": "balance_transaction", "amount": amount, "fee": fee, "currency": dispute["currency"]}
        dispute["balance_transactions"].append(moved | {"id": f"txn_{uuid4().hex}", "net": amount - fee})
        self._save(dispute, change)

    def _save(self, dispute: Object, change: str) -> None:
        self._store.save(dispute)
        self._store.add_event(f"charge.dispute.{change}", dispute, int(time.time()))
