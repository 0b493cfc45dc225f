"""Lists: newest first, by cursor, with filters that the indexes support.

Ids are UUID v7, so "newest first" is "largest id first", a page starts after the id in the cursor, and a time limits
the ids.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.http import HttpRequest, QueryDict

from fintech.http import pagination
from fintech.http.pagination import invalid, read_time
from payments.currencies import EXPONENTS
from payments.ids import first_id_at
from payments.models import IdempotencyKey, Transaction, TransactionQuerySet
from payments.schemas import MAX_AMOUNT

# An id is created shortly before its row, by another clock: the index limits the rows to this range, `created_at`
# decides.
SLACK = timedelta(minutes=1)

LIST_NAME = "transactions"

_Filter = Callable[..., TransactionQuerySet]


def _by_status(rows: TransactionQuerySet, name: str, value: str, before: UUID | None) -> TransactionQuerySet:
    if value not in Transaction.Status.values:
        raise invalid(name, f"use one of {', '.join(Transaction.Status.values)}")
    return rows.with_status(value, before=before)


def _by_currency(rows: TransactionQuerySet, name: str, value: str) -> TransactionQuerySet:
    if value not in EXPONENTS:
        raise invalid(name, "use an ISO 4217 code, such as EUR")
    return rows.filter(currency=value)


def _by_amount(lookup: str) -> _Filter:
    def narrow(rows: TransactionQuerySet, name: str, value: str) -> TransactionQuerySet:
        if not (value.isascii() and value.isdigit() and len(value) <= 12):
            raise invalid(name, f"use a whole number of minor units from 0 to {MAX_AMOUNT}")
        return rows.filter(**{lookup: int(value)})

    return narrow


def _created_from(rows: TransactionQuerySet, name: str, value: str) -> TransactionQuerySet:
    moment = read_time(name, value)
    return rows.filter(id__gte=first_id_at(moment - SLACK), created_at__gte=moment)


def _created_before(rows: TransactionQuerySet, name: str, value: str) -> TransactionQuerySet:
    return rows.filter(created_at__lt=read_time(name, value))


_STATUS = {"type": "string", "enum": Transaction.Status.values}
_CURRENCY = {"type": "string", "enum": sorted(EXPONENTS)}
_TIME = {"type": "string", "format": "date-time"}
_AMOUNT = {"type": "integer", "minimum": 0, "maximum": MAX_AMOUNT}

# The filters: their condition, the value's JSON Schema, and a sentence for the OpenAPI document.
FILTERS: dict[str, tuple[_Filter, dict[str, Any], str]] = {
    "status": (_by_status, _STATUS, "A status of the transaction."),
    "currency": (_by_currency, _CURRENCY, "An ISO 4217 code."),
    "created_from": (_created_from, _TIME, "Created at this time or later, such as 2026-01-31T12:00:00Z."),
    "created_before": (_created_before, _TIME, "Created before this time."),
    "amount_min": (_by_amount("amount__gte"), _AMOUNT, "At least this amount, in minor units."),
    "amount_max": (_by_amount("amount__lte"), _AMOUNT, "At most this amount, in minor units."),
}


def transaction_page(request: HttpRequest, merchant_id: int) -> tuple[list[Transaction], str | None]:
    """Return one page of the merchant's transactions, and the address of the next."""
    query = request.GET
    pagination.refuse_unknown(query, {*FILTERS, "idempotency_key", "cursor", "limit"})
    rows = Transaction.objects.for_merchant(merchant_id)
    if "idempotency_key" in query:
        taken = IdempotencyKey.objects.filter(merchant_id=merchant_id, key=query["idempotency_key"].replace("\0", " "))
        rows = rows.filter(id__in=taken.filter(kind="payment").values("resource_id"))
    before = _upper_bound(query)
    if before is not None:
        rows = rows.filter(id__lt=before)
    for name, (narrow, _, _) in FILTERS.items():
        if name in query:
            bound = {"before": before} if name == "status" else {}
            rows = narrow(rows, name, query[name], **bound)
    limit = pagination.read_limit(query.get("limit"))
    page = list(rows.order_by("-id")[: limit + 1])
    if len(page) <= limit:
        return page, None
    page.pop()
    return page, pagination.next_address(request, write_cursor(page[-1].id))


def _upper_bound(query: QueryDict) -> UUID | None:
    """Return the id below which all rows of the page are."""
    bounds = []
    if "cursor" in query:
        bounds.append(_read_cursor(str(query["cursor"])))
    if "created_before" in query:
        bounds.append(first_id_at(read_time("created_before", str(query["created_before"])) + SLACK))
    return min(bounds, default=None)


def write_cursor(last: UUID) -> str:
    return pagination.write_cursor(LIST_NAME, last.bytes)


def _read_cursor(value: str) -> UUID:
    try:
        return UUID(bytes=pagination.read_cursor(LIST_NAME, value))
    except ValueError:
        raise pagination.no_cursor() from None
