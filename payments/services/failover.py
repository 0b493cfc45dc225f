"""Failover: give a payment to another gateway when it is known that the first one charged nothing.

The row names the other gateway before that gateway is asked, so that the resolver, after a crash, asks the one that
may have charged. The database refuses the change once the outcome is unknown (`0019_gateway_failover.py`).
"""

import json
import logging
from typing import Any
from uuid import UUID

from django.conf import settings

from fintech.database.sql import execute
from fintech.errors import DATABASE_ERRORS
from payments.gateway.base import Answer
from payments.services.outcomes import journal_of
from payments.states import ChargeStatus

logger = logging.getLogger("payments")

# The lease first, as in T2. It begins again, because the other gateway may take as long as the first. Without our
# lease the resolver is asking the first gateway already.
MOVE = f"""
WITH lease AS (
    UPDATE payments_unresolved SET
        lease_until = greatest(lease_until, clock_timestamp() + make_interval(secs => %(seconds)s))
    WHERE resource_id = %(id)s AND lease_token = %(token)s
    RETURNING resource_id
), moved AS (
    UPDATE payments_transaction AS payment SET gateway = %(gateway)s FROM lease
    WHERE payment.id = lease.resource_id AND payment.status = '{ChargeStatus.PROCESSING}'
    RETURNING payment.id
)
INSERT INTO payments_event (transaction_id, kind, at, actor, data)
SELECT id, 'rerouted', clock_timestamp(), 'api', %(data)s::jsonb FROM moved
"""  # noqa: S608 - our own constants


def may_fail_over(answer: Answer) -> bool:
    """Return True if the gateway was not reached, or reports that it did not try. An error is its decision."""
    return answer.outcome == "unavailable"


def move_payment(payment_id: UUID, lease_token: UUID, *, gateway: str, former: str, answer: Answer) -> bool:
    """Store the gateway that is asked next. Returns False if the payment is not ours any more, or cannot be stored."""
    parameters: dict[str, Any] = {
        "id": payment_id,
        "token": lease_token,
        "gateway": gateway,
        "seconds": settings.LEASE_SECONDS,
        "data": json.dumps({"from": former, "to": gateway, "code": answer.code} | journal_of(answer)),
    }
    try:
        is_moved = execute(MOVE, parameters) == 1
    except DATABASE_ERRORS as error:
        logger.warning("failover_failed", extra={"transaction": str(payment_id), "error": type(error).__name__})
        return False
    if is_moved:
        extra = {"transaction": str(payment_id), "former": former, "gateway": gateway, "code": answer.code}
        logger.warning("gateway_failover", extra=extra)
    return is_moved
