"""Episodes: the list of alerts, and the page of one alert with its whole history."""

from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.urls import URLPattern, path, reverse
from unfold.decorators import action, display

from alerts_audit.admin.access_logged import AccessLoggedAdmin
from alerts_audit.admin.display import (
    SEAL_COLOURS,
    SEVERITY_COLOURS,
    STATE_COLOURS,
    shorten,
    show_duration,
    show_labels,
)
from alerts_audit.admin.episode_filters import (
    AcknowledgedFilter,
    AlertFilter,
    NoiseFilter,
    OpenedFilter,
    SeverityFilter,
    StateFilter,
    get_criteria,
)
from alerts_audit.admin.episode_links import runbook_file
from alerts_audit.admin.statistics import statistics_page
from alerts_audit.admin.timeline import get_story
from alerts_audit.models import Episode
from alerts_audit.permissions import may
from alerts_audit.reviews.services import ReviewError, acknowledge_many, review
from alerts_audit.selectors.criteria import MAX_LABELS, build_query
from alerts_audit.selectors.episode_pages import page_of_episodes
from alerts_audit.selectors.episodes import EpisodeSummary, duration, summarize_episodes
from fintech.adminsite.changelists import KeysetChangeList
from fintech.adminsite.display import column, page_of, show_badge, show_code, show_time, show_whole
from fintech.texts import count_of

CONFIRMATIONS = {
    "acknowledge": "You acknowledged the alert.",
    "comment": "Your comment is stored.",
    "noise": "The alert is marked as noise.",
    "incident": "The alert is linked to the incident.",
}


class EpisodeChangeList(KeysetChangeList):
    """Pages of `alerts_audit/selectors/episode_pages.py`, with the summary of each episode."""

    def get_results(self, request: HttpRequest) -> None:
        self.criteria = get_criteria(request)
        page = page_of_episodes(self.criteria, before=self.before, limit=self.list_per_page)
        for overview in summarize_episodes(page.rows):
            overview.episode.overview = overview  # type: ignore[attr-defined] # for the columns
        self.show_page(page.rows, older=page.following, looked_at=page.looked_at)


@admin.register(Episode)
class EpisodeAdmin(AccessLoggedAdmin):
    recorded_names = ("episode", "episodes")  # as the API records them; on pages an episode is an alert
    list_display = [
        "state_shown",
        "severity_shown",
        "alert",
        "summary_shown",
        "started",
        "duration_shown",
        "acknowledged_by",
        "seal",
    ]
    list_display_links = ["alert"]
    list_filter = [StateFilter, SeverityFilter, AlertFilter, AcknowledgedFilter, NoiseFilter, OpenedFilter]
    filter_parameters = frozenset(["state", "severity", "alertname", "acknowledged", "noise", "opened"])
    search_fields = ["alertname"]
    search_help_text = "Alert, label=value, or key"
    list_per_page = 30  # a summary may take three lines
    actions = ["acknowledge_chosen"]
    change_list_template = "alerts_audit/episodes.html"
    change_form_template = "alerts_audit/episode.html"
    fields = [
        ("state_shown", "severity_shown"),
        ("alert", "cluster"),
        ("started", "ended"),
        ("duration_shown", "deliveries"),
        ("heard", "last_heard"),
        ("acknowledged_by", "seal"),
        "summary",
        "labels",
        "key_shown",
    ]
    row_views = {"review/": "review_view", "runbook/": "runbook_view"}

    def get_queryset(self, request: HttpRequest) -> QuerySet[Episode]:
        return Episode.objects.select_related("identity")

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[EpisodeChangeList]:
        return EpisodeChangeList

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        return queryset, False  # `get_criteria` reads the box

    def has_review_permission(self, request: HttpRequest) -> bool:
        return may(request.user, "view_episode", "review_episode")

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.statistics_view)
        return [path("statistics/", view, name="alerts_audit_statistics"), *super().get_urls()]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        context = {**(extra_context or {}), "statistics_link": reverse("admin:alerts_audit_statistics")}
        criteria = get_criteria(request)
        if may(request.user, "export_trail") and len(criteria.labels) <= MAX_LABELS:  # an export takes no more
            query = build_query(criteria)
            exports = reverse("episodes-export")
            context |= {"export_csv": f"{exports}?format=csv&{query}", "export_json": f"{exports}?format=json&{query}"}
        return super().changelist_view(request, context)

    def row_context(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        story = get_story(row, with_reviews=may(request.user, "view_review"))
        row.overview = story["summary"]  # for the fields
        return story | {
            "may_review": self.has_review_permission(request),
            "review_link": reverse("admin:alerts_audit_episode_review", args=[row.pk]),
        }

    def statistics_view(self, request: HttpRequest) -> HttpResponse:
        return statistics_page(request, self.admin_site.each_context(request))

    def runbook_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Show the runbook that comes with the project."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        episode = get_object_or_404(Episode, pk=pk)
        file = runbook_file(episode)
        if file is None:
            raise Http404
        context = {"original": episode, "page_link": page_of(Episode, pk), "runbook": file.read_text(encoding="utf-8")}
        return self.extra_page(request, "alerts_audit/runbook.html", title="Runbook", **context)

    # --- Reviewing -----------------------------------------------------------------------------------------

    @action(description="Acknowledge", permissions=["review"])
    def acknowledge_chosen(self, request: HttpRequest, queryset: QuerySet[Episode]) -> None:
        keys = list(queryset.values_list("key", flat=True)[: self.list_per_page])
        new = acknowledge_many(episode_keys=keys, author=request.user)  # type: ignore[arg-type]
        if new:
            self.message_user(request, f"You acknowledged {count_of(len(new), 'alert')}.", messages.SUCCESS)
        if len(new) < len(keys):
            text = f"{count_of(len(keys) - len(new), 'alert')} had an acknowledgement before; the first one counts."
            self.message_user(request, text, messages.WARNING)

    def review_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        if not self.has_review_permission(request):
            raise PermissionDenied
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        episode = get_object_or_404(Episode, pk=pk)
        kind, text = request.POST.get("kind", ""), request.POST.get("text", "")
        try:
            review(episode_key=episode.key, kind=kind, author=request.user, text=text)  # type: ignore[arg-type]
            self.message_user(request, CONFIRMATIONS[kind], messages.SUCCESS)
        except ReviewError as refusal:
            self.message_user(request, str(refusal), messages.WARNING)
        return HttpResponseRedirect(page_of(Episode, pk))

    # --- Columns and fields --------------------------------------------------------------------------------

    state_shown = column("State", lambda episode: show_badge(episode.state, STATE_COLOURS[episode.state]))

    @display(description="Severity")
    def severity_shown(self, episode: Episode) -> str:
        if not episode.severity:
            return "-"
        return show_badge(shorten(episode.severity, 20), SEVERITY_COLOURS.get(episode.severity, "default"))

    alert = column("Alert", lambda episode: shorten(episode.alertname, 60) or "-")
    summary_shown = column("Summary", lambda episode: shorten(episode.summary) or "-")
    started = column("Started (UTC)", show_time, "starts_at")
    ended = column("Ended (UTC)", lambda episode: show_time(episode.ends_at or episode.closed_at))
    heard = column("First reported (UTC)", show_time, "opened_at")
    last_heard = column("Last reported (UTC)", show_time, "last_seen_at")
    duration_shown = column("Duration", lambda episode: show_whole(show_duration(duration(episode))))

    @display(description="Acknowledged by")
    def acknowledged_by(self, episode: Episode) -> str:
        overview = get_overview(episode)
        by = overview.acknowledged.author if overview.acknowledged else "-"
        return f"{by} (noise)" if overview.noise else by

    @display(description="Seal")
    def seal(self, episode: Episode) -> str:
        state = get_overview(episode).seal
        return show_badge(state, SEAL_COLOURS[state])

    cluster = column("Cluster", lambda episode: episode.identity.cluster)
    labels = column("Labels", show_labels, "identity.labels")
    key_shown = column("Key", show_code, "key")


def get_overview(episode: Episode) -> EpisodeSummary:
    """Return the summary: read with the list, or now for a single episode."""
    if not hasattr(episode, "overview"):
        episode.overview = summarize_episodes([episode])[0]  # type: ignore[attr-defined]
    return episode.overview  # type: ignore[attr-defined]
