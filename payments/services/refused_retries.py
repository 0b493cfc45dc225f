"""Retries that the advice of a decline forbids, for merchants that want them refused.

A retry has the merchant, the payment token (without one, the customer), the amount and the currency of a payment that
was declined. `REFUSED_FOR` has the time for which its code forbids it. It is a setting of the merchant: without it, a
payment with a new key is carried out in any case, which clients may rely on, and no payment is looked up.
"""

import logging
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
from django.db.models.functions import Now

from fintech.database.sql import execute
from payments.errors import Conflict
from payments.failures import FAILURES, REFUSED_FOR
from payments.models import RefusedRetry
from payments.schemas import PaymentInput
from payments.services.idempotency import used_keys
from payments.states import ChargeStatus

logger = logging.getLogger("payments")

NOTE = f"""
INSERT INTO payments_refusedretry AS noted (merchant_id, method, amount, currency, failure_code, until)
SELECT DISTINCT ON (merchant_id, method, amount, currency) merchant_id, method, amount, currency, failure_code,
    settled_at + make_interval(secs => (%(seconds)s::jsonb ->> failure_code)::float8)
FROM (
    SELECT payment.*, coalesce('token:' || (payment_method ->> 'token'), 'customer:' || customer) AS method
    FROM payments_transaction AS payment JOIN payments_merchant AS merchant ON merchant.id = payment.merchant_id
    WHERE payment.id = ANY (%(ids)s) AND payment.status = '{ChargeStatus.DECLINED}'
        AND merchant.refuse_forbidden_retries
) AS declined
WHERE method IS NOT NULL AND %(seconds)s::jsonb ? failure_code
ORDER BY merchant_id, method, amount, currency, settled_at DESC
ON CONFLICT (merchant_id, method, amount, currency) DO UPDATE
    SET failure_code = excluded.failure_code, until = excluded.until WHERE excluded.until > noted.until
"""  # noqa: S608 - our own constants


def find_forbidden(merchant_id: int, requests: Sequence[tuple[str, PaymentInput]]) -> list[Conflict | None]:
    """Return the refusal of each request that is a forbidden retry. A key that was used before is replayed instead."""
    methods = {method for _, body in requests if (method := _method(body))}
    rows = RefusedRetry.objects.filter(merchant_id=merchant_id, method__in=methods, until__gt=Now())
    noted: dict[Any, RefusedRetry] = {(row.method, row.amount, row.currency): row for row in rows}
    found = [noted.get((_method(body), body.amount, body.currency)) for _, body in requests]
    used = used_keys(merchant_id, [key for (key, _), row in zip(requests, found, strict=True) if row])
    return [
        _refusal(row.failure_code, row.until) if row and key not in used else None
        for (key, _), row in zip(requests, found, strict=True)
    ]


def note_declines(ids: Sequence[UUID]) -> None:
    """Note those of these payments that must not be tried again soon, if their merchants want that.

    An error is only logged, because the payment is settled: at worst, a retry of it is carried out.
    """
    seconds = {code: time.total_seconds() for code, time in REFUSED_FOR.items()}
    try:
        execute(NOTE, {"ids": list(ids), "seconds": orjson.dumps(seconds).decode()})
    except Exception as error:
        logger.warning("decline_not_noted", extra={"payments": len(ids), "error": type(error).__name__})


def _method(body: PaymentInput) -> str | None:
    if body.payment_method and body.payment_method.token is not None:
        return f"token:{body.payment_method.token}"
    return f"customer:{body.customer}" if body.customer is not None else None


def _refusal(code: str, until: datetime) -> Conflict:
    advice = FAILURES[code][1]
    time = f"{until:%Y-%m-%dT%H:%M:%SZ}"
    cause = f"This payment was declined before with the code {code}, whose advice is {advice}"
    if advice == "retry_later":
        return Conflict("retry_too_early", f"{cause}: try again after {time}.")
    return Conflict("retry_forbidden", f"{cause}: it is refused until {time}. Use another means of payment.")
