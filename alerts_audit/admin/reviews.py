"""The reviews of all alerts, as a list. People write them on the page of the alert (`episodes.py`)."""

from django.contrib import admin
from django.db.models import OuterRef, QuerySet, Subquery
from django.http import HttpRequest
from unfold.decorators import display

from alerts_audit.admin.access_logged import ProvableAdmin
from alerts_audit.admin.display import REVIEW_COLOURS, REVIEW_TITLES, shorten, show_link
from alerts_audit.models import Episode, Review
from fintech.adminsite.display import column, link_to, show_badge, show_code, show_time


@admin.register(Review)
class ReviewAdmin(ProvableAdmin):
    list_display = ["written_at", "kind_shown", "author", "shown_text", "episode"]
    list_display_links = ["written_at"]
    fields = [("written_at", "author"), "kind_shown", "shown_text", "episode", "seal"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Review]:
        """Include the episode that has the key now."""
        found = Episode.objects.filter(key=OuterRef("episode_key"))
        return Review.objects.annotate(
            episode_id=Subquery(found.values("id")[:1]), alertname=Subquery(found.values("alertname")[:1])
        )

    written_at = column("At (UTC)", show_time, "at")
    kind_shown = column("What", lambda review: show_badge(REVIEW_TITLES[review.kind], REVIEW_COLOURS[review.kind]))

    @display(description="Text")
    def shown_text(self, review: Review) -> str:
        return show_link(review.text) if review.kind == Review.Kind.INCIDENT else review.text or "-"

    @display(description="Episode")
    def episode(self, review: Review) -> str:
        episode = Episode.objects.filter(key=review.episode_key).only("id", "alertname").first()
        return (
            link_to(Episode, episode.pk, shorten(episode.alertname, 60)) if episode else show_code(review.episode_key)
        )
