"""Stripe's disputes: their names, the money that they moved, and the answers to a merchant's response.

Stripe names a dispute itself (`dp_...`). Our key is derived from this name, so an event, a response and the record of
the money agree on it. The disputes of the PaymentIntent are listed to find the name again.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any
from uuid import UUID

import msgspec
from msgspec import Meta

from payments.gateway.base import Answer
from payments.gateway.keys import dispute_key
from payments.gateway.stripe.amounts import from_stripe
from payments.gateway.stripe.answers import key_of, listed, object_of, read_error
from payments.schemas import MAX_AMOUNT

Seconds = Annotated[int, Meta(ge=0, le=253_402_300_799)]  # a time that datetime knows
Currency = Annotated[str, Meta(pattern="^[a-z]{3}$")]


class BalanceTransaction(msgspec.Struct):
    """Money that Stripe took (below 0) or gave back, in the currency of the account."""

    amount: int
    fee: int
    currency: Currency


class EvidenceDetails(msgspec.Struct):
    due_by: Seconds | None = None  # none if the bank allows no response


class Intent(msgspec.Struct):
    id: str
    created: Seconds
    metadata: dict[str, str] = {}


@dataclass(frozen=True)
class Moved:
    """The money that a dispute took and gave back, in minor units of the payment's currency."""

    taken: int
    fee: int
    returned: int


class StripeDispute(msgspec.Struct):
    """A dispute whose `payment_intent` is expanded."""

    id: Annotated[str, Meta(min_length=1, max_length=255)]
    amount: Annotated[int, Meta(gt=0, le=MAX_AMOUNT)]
    currency: Currency
    status: str
    reason: Annotated[str, Meta(min_length=1, max_length=100)]
    created: Seconds
    evidence_details: EvidenceDetails
    balance_transactions: list[BalanceTransaction]
    payment_intent: Intent | None = None

    @property
    def key(self) -> UUID:
        return dispute_key(self.id)

    @property
    def charge(self) -> UUID | None:
        """Return the key of the disputed payment, or None if it is none of ours."""
        return key_of(self.payment_intent.metadata) if self.payment_intent else None

    @property
    def moved(self) -> Moved:
        """Return the money that has moved: none for an inquiry. A fee in another currency is not in it."""
        taken = [part for part in self.balance_transactions if part.amount < 0]
        if not taken:
            return Moved(0, 0, 0)
        currency = self.currency.upper()
        amount = from_stripe(self.amount, currency)
        fee = from_stripe(sum(part.fee for part in taken if part.currency == self.currency), currency)
        return Moved(amount, fee, amount if self._is_returned else 0)

    @property
    def _is_returned(self) -> bool:
        """Return whether a won dispute's money is back. A fee of its own stays taken, and rates change."""
        back = [part for part in self.balance_transactions if part.amount > 0]
        if self.status != "won" or not back:
            return False
        is_converted = any(part.currency != self.currency for part in back)
        return is_converted or sum(part.amount for part in back) >= self.amount


def movements(dispute: StripeDispute) -> Iterator[tuple[str, int]]:
    """Yield the kind and the amount of each movement, as `reconcile` compares them."""
    moved = dispute.moved
    if moved.taken:
        yield "dispute", moved.taken + moved.fee
    if moved.returned:
        yield "dispute_return", moved.returned


def response_of(text: str, files: list[Any]) -> dict[str, Any]:
    """Return the evidence as Stripe takes it. We keep only the digests of files: these go into the metadata."""
    digests = {f"metadata[file_{n}]": f"{file['sha256']} {file['size']} {file['name']}" for n, file in enumerate(files)}
    return {"evidence[uncategorized_text]": text, "submit": "true"} | digests


def dispute_finder(dispute: UUID) -> Callable[[int, Any], Answer]:
    """Return a reader of a list of disputes: `found`, with the name of this one as the reference."""

    def read(status_code: int, content: Any) -> Answer:
        names = (found.get("id") for found in listed(status_code, content))
        for name in names:
            if isinstance(name, str) and dispute_key(name) == dispute:
                return Answer("found", None, name)
        return Answer("timeout", "dispute_not_found")

    return read


def read_response(status_code: int, content: Any) -> Answer:
    """Return `approved` if Stripe took a response, `declined` if it takes none from now on."""
    found = object_of(content)
    if status_code == 200 and found.get("object") == "dispute":
        return Answer("approved", None, found.get("id"))
    answer = read_error(status_code, content, refused="declined")
    if answer.outcome != "declined":
        return answer
    if status_code != 400:  # a dispute that Stripe does not know may be one of another account
        return Answer("timeout", answer.code)
    return Answer("declined", "not_awaiting_response" if answer.code == "declined" else answer.code)
