"""The filters of the list of transactions: how their values are read, and what they leave."""

import re
from collections.abc import Callable
from typing import Any

from django.http import QueryDict

from fintech.http.pagination import invalid, read_time
from payments.bodies import check_text
from payments.currencies import EXPONENTS
from payments.ids import SLACK, first_id_at
from payments.models import Transaction, TransactionQuerySet
from payments.schemas import MAX_AMOUNT
from payments.states import AUTHORIZATION

MAX_TEXT, MAX_KEY, MAX_VALUE = 255, 64, 512
_METADATA = re.compile(r"metadata\[(.*)\]", re.DOTALL)

_Filter = Callable[..., TransactionQuerySet]


def read_statuses(value: str) -> list[str]:
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


def by_metadata(rows: TransactionQuerySet, query: QueryDict) -> TransactionQuerySet:
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

# The filters: their condition (None: `transaction_pages.py` has it), the value's JSON Schema, and a sentence for the
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


def apply_filters(rows: TransactionQuerySet, query: QueryDict) -> TransactionQuerySet:
    for name, (narrow, _, _) in FILTERS.items():
        if narrow is not None and name in query:
            rows = narrow(rows, name, query[name])
    return rows
