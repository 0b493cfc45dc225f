"""Late outcomes: the gateway's decision about an operation that is unknown here settles it.

The resolver asks for the same decision. The lease decides which of both settles it, exactly once.
"""

from typing import Annotated, Literal
from uuid import UUID

import msgspec
from django.db import connection
from msgspec import Meta

from payments.gateway.base import Answer, Exchange
from payments.gateway_events.errors import NotYet, Refused
from payments.services.resolution import STEPS, acquire_lease

Text = Annotated[str, Meta(max_length=255)]

# Open operations by the gateway's key: a few rows, so no table needs an index for it.
FIND_OPEN = """
SELECT work.resource_id, coalesce(refund.amount, capture.amount, void.amount, payment.amount), payment.currency
FROM payments_unresolved AS work
JOIN payments_transaction AS payment ON payment.id = work.transaction_id
LEFT JOIN payments_refund AS refund ON refund.id = work.refund_id
LEFT JOIN payments_capture AS capture ON capture.id = work.capture_id
LEFT JOIN payments_void AS void ON void.id = work.void_id
WHERE CASE WHEN work.operation = 'charge' AND payment.manual_capture THEN 'authorization' ELSE work.operation END = %s
    AND coalesce(refund.gateway_key, capture.gateway_key, void.gateway_key, payment.gateway_key) = %s
"""


class Decision(msgspec.Struct):
    """The gateway's decision about the operation that it knows by `key`."""

    key: UUID
    outcome: Literal["approved", "declined"]
    amount: Annotated[int, Meta(gt=0)]
    currency: Annotated[str, Meta(pattern="^[A-Z]{3}$")]
    reference: Text | None = None
    code: Text | None = None

    def __post_init__(self) -> None:
        if (self.outcome == "approved") != (self.reference is not None):
            raise ValueError("an approved decision has a reference, and no other has one")

    def answer(self) -> Answer:
        answer = Answer(self.outcome, self.code, self.reference)
        content = {name: value for name, value in msgspec.to_builtins(self).items() if value is not None}
        answer.exchanges = [Exchange("event", self.outcome, None, content, 0.0)]
        return answer


def apply_decision(operation: str, decision: Decision) -> bool:
    """Settle an open operation. Raises NotYet while another process holds its lease, Refused if the money differs."""
    with connection.cursor() as cursor:
        cursor.execute(FIND_OPEN, [operation, decision.key])
        found = cursor.fetchone()
    if found is None:
        return False
    resource_id, *money = found
    if money != [decision.amount, decision.currency]:
        raise Refused(f"our {operation} is of {money[0]} {money[1]}, theirs of {decision.amount} {decision.currency}")
    lease = acquire_lease(resource_id, actor="gateway")
    if lease is None:
        raise NotYet(f"the {operation} is in progress")
    STEPS[lease.operation].settle(lease, decision.answer())
    return True
