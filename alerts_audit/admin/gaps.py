"""Gaps: missing alerts and their reasons, open gaps first. Reviewers can close one with a note."""

from collections.abc import Callable
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from unfold.decorators import display

from alerts_audit.admin.access_logged import ProvableAdmin
from alerts_audit.admin.display import shorten, show_duration, show_labels
from alerts_audit.gaps import NotOpen, close_by_hand
from alerts_audit.models import Delivery, Gap
from alerts_audit.permissions import may
from alerts_audit.reviews.services import ReviewError, required_text
from fintech.adminsite.changelists import KeysetChangeList
from fintech.adminsite.display import column, link_to, page_of, show_badge, show_json, show_time, show_whole
from fintech.adminsite.filters import ChoiceFilter

MAX_OPEN = 200


class ReasonFilter(ChoiceFilter):
    title = parameter_name = "reason"
    offered = Gap.Reason.choices


class StateFilter(ChoiceFilter):
    title = parameter_name = "state"
    offered = [("open", "open"), ("closed", "closed")]

    def narrow(self, request: HttpRequest, queryset: QuerySet[Any], value: str) -> QuerySet[Any]:
        return queryset.filter(still_open__isnull=value == "closed")


def is_open(gap: Gap) -> bool:
    return hasattr(gap, "still_open")


def get_closing(gap: Gap) -> Gap | None:
    return getattr(gap, "closed_by", None)


def column_of_closing(description: str, show: Callable[[Gap], str]) -> Callable[[Any, Gap], Any]:
    """Return a column about the row that closed the gap."""
    return column(description, lambda gap: show(closing) if (closing := get_closing(gap)) else "-")


class GapChangeList(KeysetChangeList):
    """A list whose first page begins with the newest open gaps; all others follow, newest first."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        if "state" not in self.params:
            first = list(self.rows_of_all_pages.filter(still_open__isnull=False)[:MAX_OPEN])
            others = [gap for gap in self.result_list if gap not in first]
            shown = [*first, *others] if self.before is None else others
            self.show_page(shown, older=self.older, looked_at=self.looked_at)


@admin.register(Gap)
class GapAdmin(ProvableAdmin):
    list_display = ["state_shown", "reason_shown", "about", "source", "began", "ended", "length"]
    list_display_links = ["about"]
    list_filter = [StateFilter, ReasonFilter]
    filter_parameters = frozenset(["state", "reason"])
    unindexed_filters = frozenset(["state"])
    row_views = {**ProvableAdmin.row_views, "close/": "close_view"}
    change_form_template = "alerts_audit/gap.html"
    fields = [
        ("state_shown", "reason_shown"),
        ("began", "ended"),
        ("length", "source"),
        ("noticed", "closed"),
        "about",
        "labels_shown",
        "delivery",
        "details_shown",
        "outcome",
        "seal",
    ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Gap]:
        """Return the opening rows, each with the row that closed it."""
        return Gap.objects.filter(closes=None).select_related("closed_by", "still_open")

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[GapChangeList]:
        return GapChangeList

    def has_close_permission(self, request: HttpRequest) -> bool:
        return may(request.user, "view_gap", "review_episode")

    def row_context(self, request: HttpRequest, row: Gap) -> dict[str, Any]:
        return {"may_close": self.has_close_permission(request)}

    def close_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        if not self.has_close_permission(request):
            raise PermissionDenied
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        get_object_or_404(self.get_queryset(request), pk=pk)
        try:
            note = required_text(request.POST.get("note", ""), "Enter your findings.")
            close_by_hand(gap_id=pk, by=request.user.get_username(), note=note)
            self.message_user(request, "You closed the gap.", messages.SUCCESS)
        except ReviewError as refusal:
            self.message_user(request, str(refusal), messages.WARNING)
        except NotOpen:
            self.message_user(request, "The gap was already closed.", messages.WARNING)
        return HttpResponseRedirect(page_of(Gap, pk))

    @display(description="State")
    def state_shown(self, gap: Gap) -> str:
        return show_badge("open", "danger") if is_open(gap) else show_badge("closed", "success")

    reason_shown = column("Reason", lambda gap: gap.get_reason_display())

    @display(description="About")
    def about(self, gap: Gap) -> str:
        name = (gap.labels or {}).get("alertname")
        return shorten(str(name or gap.subject), 100)

    began = column("Since (UTC)", show_time, "since")
    ended = column_of_closing("Until (UTC)", lambda closing: show_time(closing.until))

    @display(description="Length")
    def length(self, gap: Gap) -> str | None:
        closing = get_closing(gap)
        return show_whole(show_duration(closing.until - gap.since)) if closing and closing.until else None

    noticed = column("Noticed (UTC)", show_time, "at")
    closed = column_of_closing("Closed (UTC)", lambda closing: show_time(closing.at))
    labels_shown = column("Labels", lambda gap: show_labels(gap.labels) if gap.labels else None)
    delivery = column("Delivery", lambda gap: link_to(Delivery, gap.delivery_id) if gap.delivery_id else None)
    details_shown = column("Details", show_json, "details")
    outcome = column_of_closing("How it closed", lambda closing: show_json(closing.details))
