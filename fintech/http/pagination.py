"""Shared parts of all API lists: parameters, cursors, and the address of the next page."""

import base64
import binascii
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any, TypeVar
from urllib.parse import urlencode
from uuid import UUID

from django.db.models import Model, QuerySet
from django.http import HttpRequest, QueryDict
from django.utils.crypto import constant_time_compare, salted_hmac

from fintech.http.problems import Problem
from fintech.times import in_range, parse_time

Row = TypeVar("Row", bound=Model)

DEFAULT_LIMIT, MAX_LIMIT = 50, 200
CODE_BYTES = 8
KEY_BYTES = (8, 16)  # a number, a UUID
MAX_EXAMINED = 10_000  # rows that a page reads for a filter without an index


def invalid(name: str, advice: str) -> Problem:
    return Problem(422, "invalid_parameter", f"{name} is wrong: {advice}.", param=name)


def refuse_unknown(query: QueryDict, known: Collection[str], *, repeatable: Collection[str] = ()) -> None:
    for name in query:
        if name not in known:
            listed = f"The parameters are {', '.join(sorted(known))}." if known else "There are none here."
            detail = f"Unknown parameter. {listed}"
            raise Problem(422, "unknown_parameter", detail, param=name[:64].replace("\0", " "))
        if name not in repeatable and len(query.getlist(name)) > 1:
            raise invalid(name, "send it once")


def read_choice(name: str, value: str | None, choices: Collection[str]) -> str:
    if value is None or value not in choices:
        raise invalid(name, f"use one of {', '.join(choices)}")
    return value


def read_limit(value: str | None) -> int:
    if value is None:
        return DEFAULT_LIMIT
    if not (value.isascii() and value.isdigit() and len(value) <= 3 and 1 <= int(value) <= MAX_LIMIT):
        raise invalid("limit", f"use a whole number from 1 to {MAX_LIMIT}")
    return int(value)


def read_time(name: str, value: str) -> datetime:
    moment = parse_time(value)
    if moment is None:
        raise invalid(name, "use a time with its offset, such as 2026-01-31T12:00:00Z")
    return in_range(moment)


def write_cursor(list_name: str, key: UUID | int) -> str:
    """Encode the key that a page ends with, and a code that shows if the cursor was altered or is of another list."""
    last = key.bytes if isinstance(key, UUID) else key.to_bytes(8, "big")
    code = salted_hmac(f"cursor of {list_name}", last, algorithm="sha256").digest()
    return base64.urlsafe_b64encode(last + code[:CODE_BYTES]).decode().rstrip("=")


def read_cursor(list_name: str, value: str) -> Any:
    """Return the key. Raise Problem 400 for any other value than a cursor that this list wrote."""
    key = _decode_key(value)
    # Compared as text: several texts decode to the same bytes.
    if key is None or not constant_time_compare(value, write_cursor(list_name, key)):
        detail = "cursor was altered, or is of another list: use the value in `next` of the previous page."
        raise Problem(400, "invalid_cursor", detail, param="cursor")
    return key


def _decode_key(cursor: str) -> UUID | int | None:
    try:
        content = base64.b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except (ValueError, binascii.Error):
        return None
    last = content[:-CODE_BYTES]
    if len(last) not in KEY_BYTES:
        return None
    return UUID(bytes=last) if len(last) == 16 else int.from_bytes(last, "big")


def next_address(request: HttpRequest, cursor: str) -> str:
    """Return this list's address from `cursor` on."""
    parameters = {name: values for name, values in request.GET.lists() if name != "cursor"}
    return request.build_absolute_uri(f"{request.path}?{urlencode({**parameters, 'cursor': cursor}, doseq=True)}")


def page_of(
    request: HttpRequest,
    rows: QuerySet[Row],
    list_name: str,
    *,
    oldest_first: bool = False,
    unindexed: Mapping[str, Any] | None = None,
) -> tuple[list[Row], str | None]:
    """Return one page in the order of the primary key, and the address of the next.

    With `unindexed`, a filter without an index for lists with the newest first, a page examines at most `MAX_EXAMINED`
    rows. So it may hold fewer than `limit`, even none, before the last.
    """
    after = request.GET.get("cursor")
    if after is not None:
        last = read_cursor(list_name, after)
        rows = rows.filter(pk__gt=last) if oldest_first else rows.filter(pk__lt=last)
    end = None
    if unindexed:
        end = _last_examined(rows)
        rows = rows.filter(**unindexed) if end is None else rows.filter(**unindexed, pk__gte=end)
    page, cursor = first_page(rows, list_name, read_limit(request.GET.get("limit")), oldest_first=oldest_first)
    if cursor is None and end is not None:
        cursor = write_cursor(list_name, end)
    return page, next_address(request, cursor) if cursor else None


def _last_examined(rows: QuerySet[Any]) -> Any:
    """Return the key of the last row that a page examines; None if it examines all that are left."""
    keys = rows.prefetch_related(None).order_by("-pk").values_list("pk", flat=True)
    return keys[MAX_EXAMINED - 1 : MAX_EXAMINED].first()


def first_page(
    rows: QuerySet[Row], list_name: str, limit: int, *, oldest_first: bool = False
) -> tuple[list[Row], str | None]:
    """Return the first rows, and the cursor of those that follow."""
    return split(list(rows.order_by("pk" if oldest_first else "-pk")[: limit + 1]), list_name, limit)


def split(page: list[Row], list_name: str, limit: int) -> tuple[list[Row], str | None]:
    """Return the first `limit` of the rows, of which there is one more if others follow, and the cursor of those."""
    if len(page) <= limit:
        return page, None
    return page[:limit], write_cursor(list_name, page[limit - 1].pk)
