"""Events from the gateway, read-only: as they came, and why one waits or was refused."""

from collections.abc import Mapping

import orjson
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.decorators import display

from fintech.adminsite.changelists import ReadOnlyAdmin
from fintech.adminsite.display import column, show_badge, show_code, show_json, show_time
from fintech.adminsite.filters import ChoiceFilter
from payments.gateway.registry import gateways
from payments.models import GatewayEvent

WAITING = "waiting"
COLOURS = {
    WAITING: "warning",
    "applied": "success",
    "ignored": "info",
    "refused": "danger",
    "unreadable": "danger",
    "unknown_type": "warning",
}


class OutcomeFilter(ChoiceFilter):
    title = parameter_name = "outcome"
    offered = [(WAITING, "Waiting"), *GatewayEvent.Outcome.choices]

    def narrow(self, request: HttpRequest, queryset: QuerySet[GatewayEvent], value: str) -> QuerySet[GatewayEvent]:
        # An event has an outcome if it is processed; the index of those that wait is on the latter.
        return queryset.filter(processed_at=None) if value == WAITING else queryset.filter(outcome=value)


@admin.register(GatewayEvent)
class GatewayEventAdmin(ReadOnlyAdmin):
    list_display = ["id", "received", "gateway", "type", "state", "detail"]
    list_filter = [OutcomeFilter]
    filter_parameters = frozenset({"outcome"})
    list_defer = ["body"]
    search_fields = ["identifier"]
    search_help_text = "Identifier of the event"
    fields = [
        ("gateway", "type"),
        ("state", "detail"),
        ("sent", "received"),
        ("processed", "attempts"),
        "identifier",
        "content",
    ]

    def needs_window(self, parameters: Mapping[str, str]) -> bool:
        return parameters.get("outcome", WAITING) != WAITING  # those that wait have an index

    def search(self, queryset: QuerySet[GatewayEvent], term: str) -> QuerySet[GatewayEvent]:
        return queryset.filter(gateway__in=gateways.names, identifier=term)  # the unique index has both columns

    @display(description="Outcome")
    def state(self, event: GatewayEvent) -> str:
        if event.outcome is None:
            return show_badge("Waiting", COLOURS[WAITING])
        return show_badge(event.get_outcome_display(), COLOURS[event.outcome])

    sent = column("Sent (UTC)", show_time, "sent_at")
    received = column("Received (UTC)", show_time, "received_at")
    processed = column("Processed (UTC)", show_time, "processed_at")

    @display(description="Body")
    def content(self, event: GatewayEvent) -> str:
        text = bytes(event.body).decode(errors="replace")
        try:
            return show_json(orjson.loads(text))
        except orjson.JSONDecodeError:
            return show_code(text)
