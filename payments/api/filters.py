"""Lists: newest first, by cursor, with filters that the indexes support.

Ids are UUID v7, so "newest first" is "largest id first", a page starts after the id in the cursor, and a time limits
the ids.

`reference`, `customer` and `metadata` have no index, because it would cost every payment. A page with one of these
filters examines at most `MAX_EXAMINED` payments, and may therefore hold fewer than `limit`, even none, before the last.
The same is true for a final status among archived payments, whose journal is in files.
"""

import re
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.http import HttpRequest, QueryDict

from fintech.http import pagination
from fintech.http.pagination import invalid, read_time
from payments.currencies import EXPONENTS
from payments.ids import first_id_at
from payments.models import ArchivedPart, IdempotencyKey, Transaction, TransactionQuerySet
from payments.schemas import MAX_AMOUNT, check_text
from payments.states import AUTHORIZATION, CHARGE

# An id is created shortly before its row, by another clock: the index limits the rows to this range, `created_at`
# decides.
SLACK = timedelta(minutes=1)

LIST_NAME = "transactions"

MAX_EXAMINED = 10_000
MAX_TEXT, MAX_KEY, MAX_VALUE = 255, 64, 512
_METADATA = re.compile(r"metadata\[(.*)\]", re.DOTALL)

_Filter = Callable[..., TransactionQuerySet]


def _read_statuses(value: str) -> list[str]:
    """Return the statuses in the order of a payment's life: one that changes between two queries is not missed."""
    wanted = value.split(",")
    if not set(wanted) <= set(Transaction.Status.values):
        raise invalid("status_in", f"use some of {', '.join(Transaction.Status.values)}, separated by commas")
    return [status for status in (*AUTHORIZATION.open, *AUTHORIZATION.held, *AUTHORIZATION.final) if status in wanted]


def _by_text(rows: TransactionQuerySet, name: str, value: str) -> TransactionQuerySet:
    return rows.filter(**{name: _read_text(name, value, MAX_TEXT)})


def _read_text(name: str, value: str, most: int, least: int = 1) -> str:
    if not least <= len(value) <= most:
        raise invalid(name, f"use {least} to {most} characters")
    check_text(value, (None, name))
    return value


def _by_metadata(rows: TransactionQuerySet, query: QueryDict) -> TransactionQuerySet:
    """Take the parameters `metadata[key]` out of the query, and filter by them."""
    wanted = {}
    for name in [name for name in query if _METADATA.fullmatch(name)]:
        values = query.pop(name)
        if len(values) > 1:
            raise invalid("metadata", "send each key once")
        key = _read_text("metadata", name[len("metadata[") : -1], MAX_KEY)
        wanted[key] = _read_text("metadata", str(values[0]), MAX_VALUE, least=0)
    return rows.filter(metadata__contains=wanted) if wanted else rows


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
_TEXT = {"type": "string", "minLength": 1, "maxLength": MAX_TEXT, "pattern": "^[^\\u0000]*$"}

_ANY_STATUS = f"({'|'.join(Transaction.Status.values)})"
_STATUSES = {"type": "string", "pattern": f"^{_ANY_STATUS}(,{_ANY_STATUS})*$"}
_METADATA_SCHEMA = {
    "type": "object",
    "propertyNames": {"minLength": 1, "maxLength": MAX_KEY, "pattern": "^[^\\u0000]*$"},
    "additionalProperties": {"type": "string", "maxLength": MAX_VALUE, "pattern": "^[^\\u0000]*$"},
}

# The filters: their condition (None: `transaction_page` applies it), the value's JSON Schema, and a sentence for the
# OpenAPI document.
FILTERS: dict[str, tuple[_Filter | None, dict[str, Any], str]] = {
    "status": (None, _STATUS, "A status of the transaction."),
    "currency": (_by_currency, _CURRENCY, "An ISO 4217 code."),
    "created_from": (_created_from, _TIME, "Created at this time or later, such as 2026-01-31T12:00:00Z."),
    "created_before": (_created_before, _TIME, "Created before this time."),
    "amount_min": (_by_amount("amount__gte"), _AMOUNT, "At least this amount, in minor units."),
    "amount_max": (_by_amount("amount__lte"), _AMOUNT, "At most this amount, in minor units."),
    "reference": (_by_text, _TEXT, "The payment's reference."),
    "customer": (_by_text, _TEXT, "The payment's customer."),
    "status_in": (None, _STATUSES, "Statuses of the transaction, separated by commas."),
    "metadata": (None, _METADATA_SCHEMA, "Values of the payment's metadata, such as metadata[basket]=9."),
}
KNOWN = {*FILTERS, "idempotency_key", "expand", "cursor", "limit"} - {"metadata"} | {"metadata[KEY]"}


def transaction_page(request: HttpRequest, merchant_id: int) -> tuple[list[Transaction], str | None]:
    """Return one page of the merchant's transactions, and the address of the next."""
    query = request.GET.copy()
    merchants = Transaction.objects.for_merchant(merchant_id)
    rows = _by_metadata(merchants, query)
    is_examined = rows is not merchants or "reference" in query or "customer" in query
    pagination.refuse_unknown(query, KNOWN)
    if "idempotency_key" in query:
        taken = IdempotencyKey.objects.filter(
            merchant_id=merchant_id, key=str(query["idempotency_key"]).replace("\0", " ")
        )
        rows = rows.filter(id__in=taken.filter(kind="payment").values("resource_id"))
    before = _upper_bound(query)
    boundary = _archive_boundary(query)
    is_archived = boundary is not None and before is not None and before <= boundary
    lowest = _lowest_examined(merchants, query, before) if is_examined or is_archived else None
    if boundary is not None and not is_archived:
        lowest = max(lowest or boundary, boundary)
    if before is not None:
        rows = rows.filter(id__lt=before)
    if lowest is not None:
        rows = rows.filter(id__gte=lowest)
    for name, (narrow, _, _) in FILTERS.items():
        if narrow is not None and name in query:
            rows = narrow(rows, name, query[name])
    bounds: dict[str, Any] = {"before": before, "lowest": lowest, "is_archived": is_archived}
    if "status" in query:
        status = pagination.read_choice("status", str(query["status"]), Transaction.Status.values)
        rows = rows.with_status(status, **bounds)
    lists = [rows]
    if "status_in" in query:
        lists = [rows.with_status(status, **bounds) for status in _read_statuses(str(query["status_in"]))]
    limit = pagination.read_limit(query.get("limit"))
    page = _newest(lists, limit + 1)
    if len(page) > limit:
        return page[:limit], pagination.next_address(request, write_cursor(page[limit - 1].id))
    return page, pagination.next_address(request, write_cursor(lowest)) if lowest else None


def _newest(lists: Sequence[TransactionQuerySet], limit: int) -> list[Transaction]:
    """Return the newest payments of all lists. Each is read by itself, because it has an index of its own."""
    found = {row.id: row for rows in lists for row in rows.order_by("-id")[:limit]}
    return sorted(found.values(), key=lambda row: row.id, reverse=True)[:limit]


def _lowest_examined(merchants: TransactionQuerySet, query: QueryDict, before: UUID | None) -> UUID | None:
    """Return the id of the last payment that this page examines, or None if it examines all that are left."""
    rows = merchants if before is None else merchants.filter(id__lt=before)
    if "created_from" in query:
        rows = rows.filter(id__gte=first_id_at(read_time("created_from", str(query["created_from"])) - SLACK))
    return rows.order_by("-id").values_list("id", flat=True)[MAX_EXAMINED - 1 : MAX_EXAMINED].first()


def _archive_boundary(query: QueryDict) -> UUID | None:
    """Return the id at which a list by a final status ends a page; below it, pages examine payments. Or None."""
    wanted = {*str(query.get("status", "")).split(","), *str(query.get("status_in", "")).split(",")}
    if not wanted & {*AUTHORIZATION.final, *CHARGE.final}:
        return None
    boundary = ArchivedPart.objects.boundary()
    if boundary is not None and "created_from" in query:
        earliest = first_id_at(read_time("created_from", str(query["created_from"])) - SLACK)
        return boundary if earliest < boundary else None
    return boundary


def _upper_bound(query: QueryDict) -> UUID | None:
    """Return the id below which the page begins."""
    bounds = []
    if "cursor" in query:
        bounds.append(pagination.read_cursor(LIST_NAME, str(query["cursor"])))
    if "created_before" in query:
        bounds.append(first_id_at(read_time("created_before", str(query["created_before"])) + SLACK))
    return min(bounds, default=None)


def write_cursor(last: UUID) -> str:
    return pagination.write_cursor(LIST_NAME, last)
