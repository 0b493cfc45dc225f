"""The lists that payments contain if `expand` asks for them, each read with one statement for all payments."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db.models import Prefetch, prefetch_related_objects
from django.http import HttpRequest

from fintech.http import pagination
from fintech.http.pagination import invalid
from payments.models import Capture, Dispute, Refund, Transaction
from payments.schemas import CapturePage, DisputePage, ExpandedPayment, RefundPage
from payments.serializers import serialize_capture, serialize_dispute, serialize_expanded, serialize_refund

Page = RefundPage | CapturePage | DisputePage

# Entries of each list in a page of payments, which can have 200.
NESTED_LIMIT = 10


@dataclass(frozen=True)
class Following:
    """A list of what follows a payment, newest first. `address` has its pages; "{id}" is the payment's."""

    title: str
    model: type[Refund] | type[Capture] | type[Dispute]
    serialize: Callable[[Any], Any]
    page: Callable[[list[Any], str | None], Page]
    address: str
    # Cursors are valid for this list only.
    list_name: str

    def rows(self, payment: Transaction) -> Any:
        return self.model.objects.filter(transaction=payment).select_related("transaction")

    def name(self, payment: UUID) -> str:
        return self.list_name.format(id=payment)

    def page_of(self, rows: list[Any], following: str | None) -> Page:
        return self.page([self.serialize(row) for row in rows], following)

    def first_rows(self, number: int) -> "Prefetch[Any]":
        """Return the statement for the newest rows of many payments, which get them as an attribute."""
        return Prefetch(self.title, self.model.objects.order_by("-pk")[:number], to_attr=self._attribute)

    def first_page(self, request: HttpRequest, payment: Transaction, limit: int) -> Page:
        """Return the rows that were read by `first_rows`. `next` leads to the list itself."""
        rows, cursor = pagination.split(getattr(payment, self._attribute), self.name(payment.id), limit)
        if cursor is None:
            return self.page_of(rows, None)
        address = self.address.format(id=payment.id)
        separator = "&" if "?" in address else "?"
        return self.page_of(rows, request.build_absolute_uri(f"{address}{separator}cursor={cursor}"))

    @property
    def _attribute(self) -> str:
        return f"first_{self.title}"


def _operations(
    title: str, model: type[Refund] | type[Capture], serialize: Callable[[Any], Any], page: type[Page]
) -> Following:
    return Following(title, model, serialize, page, f"/v1/transactions/{{id}}/{title}", f"{title} of {{id}}")


REFUNDS = _operations("refunds", Refund, serialize_refund, RefundPage)
CAPTURES = _operations("captures", Capture, serialize_capture, CapturePage)
DISPUTES = Following("disputes", Dispute, serialize_dispute, DisputePage, "/v1/disputes?transaction={id}", "disputes")
EXPANDABLE = {following.title: following for following in (REFUNDS, CAPTURES, DISPUTES)}


def read_expand(value: str | None) -> list[Following]:
    """Return the lists that payments are asked to contain."""
    if value is None:
        return []
    wanted = value.split(",")
    if not set(wanted) <= set(EXPANDABLE):
        raise invalid("expand", f"use some of {', '.join(EXPANDABLE)}, separated by commas")
    return [following for title, following in EXPANDABLE.items() if title in wanted]


def expand(
    request: HttpRequest, payments: Sequence[Transaction], wanted: Sequence[Following], limit: int
) -> list[ExpandedPayment]:
    """Return the payments with the first `limit` entries of each list."""
    prefetch_related_objects(payments, *(following.first_rows(limit + 1) for following in wanted))

    def lists_of(payment: Transaction) -> dict[str, Page]:
        return {following.title: following.first_page(request, payment, limit) for following in wanted}

    return [serialize_expanded(payment, lists_of(payment)) for payment in payments]
