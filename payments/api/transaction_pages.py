"""The list of transactions: newest first, by cursor, with filters that the indexes support.

Ids are UUID v7, so "newest first" is "largest id first", a page starts after the id in the cursor, and a time limits
the ids.

`reference`, `customer` and `metadata` have no index, because it would cost every payment. A page with one of these
filters examines at most `MAX_EXAMINED` payments, and may therefore hold fewer than `limit`, even none, before the last.
The same is true for a final status among archived payments, whose journal is in files.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from django.http import HttpRequest, QueryDict

from fintech.http import pagination
from fintech.http.pagination import read_time
from payments.api.filters import KNOWN, apply_filters, by_metadata, read_statuses
from payments.ids import SLACK, first_id_at
from payments.models import ArchivedPart, IdempotencyKey, Transaction, TransactionQuerySet
from payments.states import AUTHORIZATION, CHARGE

LIST_NAME = "transactions"
MAX_EXAMINED = 10_000


@dataclass(frozen=True)
class Span:
    """The ids that a page reads: from `lowest` on, below `before`; None: no limit. The journal of some is archived."""

    before: UUID | None
    lowest: UUID | None
    is_archived: bool

    def limit(self, rows: TransactionQuerySet) -> TransactionQuerySet:
        if self.before is not None:
            rows = rows.filter(id__lt=self.before)
        return rows if self.lowest is None else rows.filter(id__gte=self.lowest)


def transaction_page(request: HttpRequest, merchant_id: int) -> tuple[list[Transaction], str | None]:
    """Return one page of the merchant's transactions, and the address of the next."""
    query = request.GET.copy()
    merchants = Transaction.objects.for_merchant(merchant_id)
    rows = by_metadata(merchants, query)
    pagination.refuse_unknown(query, KNOWN)
    is_examined = rows is not merchants or "reference" in query or "customer" in query
    span = _span(query, merchants, is_examined=is_examined)
    rows = apply_filters(span.limit(rows), query)
    if "idempotency_key" in query:
        rows = _by_key(rows, merchant_id, str(query["idempotency_key"]))
    lists = _by_status(rows, query, span)
    limit = pagination.read_limit(query.get("limit"))
    page = _newest(lists, limit + 1)
    end = page[limit - 1].id if len(page) > limit else span.lowest
    return page[:limit], pagination.next_address(request, write_cursor(end)) if end else None


def write_cursor(last: UUID) -> str:
    return pagination.write_cursor(LIST_NAME, last)


def _by_key(rows: TransactionQuerySet, merchant_id: int, key: str) -> TransactionQuerySet:
    taken = IdempotencyKey.objects.filter(merchant_id=merchant_id, key=key.replace("\0", " "), kind="payment")
    return rows.filter(id__in=taken.values("resource_id"))


def _by_status(rows: TransactionQuerySet, query: QueryDict, span: Span) -> list[TransactionQuerySet]:
    """Return the rows of the status asked for; those of several as lists, because each has an index of its own."""
    if "status" in query:
        status = pagination.read_choice("status", str(query["status"]), Transaction.Status.values)
        rows = rows.with_status(status, **vars(span))
    if "status_in" not in query:
        return [rows]
    return [rows.with_status(status, **vars(span)) for status in read_statuses(str(query["status_in"]))]


def _newest(lists: Sequence[TransactionQuerySet], limit: int) -> list[Transaction]:
    """Return the newest payments of all lists."""
    found = {row.id: row for rows in lists for row in rows.order_by("-id")[:limit]}
    return sorted(found.values(), key=lambda row: row.id, reverse=True)[:limit]


# --- The ids of a page -------------------------------------------------------------------------------------


def _span(query: QueryDict, merchants: TransactionQuerySet, *, is_examined: bool) -> Span:
    before, earliest = _upper_bound(query), _earliest(query)
    boundary = _archive_boundary(query, earliest)
    is_archived = boundary is not None and before is not None and before <= boundary
    lowest = _lowest_examined(merchants, earliest, before) if is_examined or is_archived else None
    if boundary is not None and not is_archived:
        lowest = max(lowest or boundary, boundary)
    return Span(before, lowest, is_archived)


def _upper_bound(query: QueryDict) -> UUID | None:
    """Return the id below which the page begins."""
    bounds = []
    if "cursor" in query:
        bounds.append(pagination.read_cursor(LIST_NAME, str(query["cursor"])))
    if "created_before" in query:
        bounds.append(first_id_at(read_time("created_before", str(query["created_before"])) + SLACK))
    return min(bounds, default=None)


def _earliest(query: QueryDict) -> UUID | None:
    """Return the id below which no payment was created as late as asked for."""
    if "created_from" not in query:
        return None
    return first_id_at(read_time("created_from", str(query["created_from"])) - SLACK)


def _archive_boundary(query: QueryDict, earliest: UUID | None) -> UUID | None:
    """Return the id at which a list by a final status ends a page; below it, pages examine payments. Or None."""
    wanted = {*str(query.get("status", "")).split(","), *str(query.get("status_in", "")).split(",")}
    if not wanted & {*AUTHORIZATION.final, *CHARGE.final}:
        return None
    boundary = ArchivedPart.objects.boundary()
    ends_before = boundary is not None and earliest is not None and earliest >= boundary
    return None if ends_before else boundary


def _lowest_examined(merchants: TransactionQuerySet, earliest: UUID | None, before: UUID | None) -> UUID | None:
    """Return the id of the last payment that this page examines, or None if it examines all that are left."""
    rows = Span(before, earliest, is_archived=False).limit(merchants)
    return rows.order_by("-id").values_list("id", flat=True)[MAX_EXAMINED - 1 : MAX_EXAMINED].first()
