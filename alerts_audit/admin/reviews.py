"""Page views, reviews, and the tokens for access without a browser."""

from django.contrib import admin, messages
from django.db.models import OuterRef, QuerySet, Subquery
from django.http import HttpRequest
from django.utils import timezone
from unfold.decorators import action, display

from alerts_audit.admin.access_logged import AccessLoggedAdmin, ProvableAdmin
from alerts_audit.admin.display import REVIEW_COLOURS, REVIEW_TITLES, shorten, show_link
from alerts_audit.models import AccessToken, Episode, Review, View
from alerts_audit.permissions import issue_token, revoke_token
from fintech.adminsite.display import link_to, show_badge, show_code, show_time
from fintech.adminsite.one_time_secrets import ExpiringForm, OneTimeSecretAdmin

TOKEN_COLOURS = {"active": "success", "expired": "warning", "revoked": "danger", "inactive user": "warning"}


@admin.register(View)
class ViewAdmin(AccessLoggedAdmin):
    list_display = ["seen_at", "user", "what", "which"]
    list_display_links = ["seen_at"]
    fields = [("seen_at", "user"), ("what", "request_id"), "key"]

    @display(description="At (UTC)")
    def seen_at(self, view: View) -> str:
        return show_time(view.at)

    @display(description="Item or filter")
    def which(self, view: View) -> str:
        return shorten(view.key) or "-"


@admin.register(Review)
class ReviewAdmin(ProvableAdmin):
    list_display = ["said_at", "kind_shown", "author", "said", "episode"]
    list_display_links = ["said_at"]
    fields = [("said_at", "author"), "kind_shown", "said", "episode", "seal"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Review]:
        """Include the episode that has the key now."""
        found = Episode.objects.filter(key=OuterRef("episode_key"))
        return Review.objects.annotate(
            episode_id=Subquery(found.values("id")[:1]), alertname=Subquery(found.values("alertname")[:1])
        )

    @display(description="At (UTC)")
    def said_at(self, review: Review) -> str:
        return show_time(review.at)

    @display(description="What")
    def kind_shown(self, review: Review) -> str:
        return show_badge(REVIEW_TITLES[review.kind], REVIEW_COLOURS[review.kind])

    @display(description="Text")
    def said(self, review: Review) -> str:
        return show_link(review.text) if review.kind == Review.Kind.INCIDENT else review.text or "-"

    @display(description="Episode")
    def episode(self, review: Review) -> str:
        episode = Episode.objects.filter(key=review.episode_key).only("id", "alertname").first()
        return (
            link_to(Episode, episode.pk, shorten(episode.alertname, 60)) if episode else show_code(review.episode_key)
        )


class AccessTokenForm(ExpiringForm):
    class Meta:
        model = AccessToken
        fields = ["user", "name", "expires_at"]


@admin.register(AccessToken)
class AccessTokenAdmin(OneTimeSecretAdmin):
    """An admin of tokens that belong to a person."""

    issue = staticmethod(issue_token)
    created_template = "alerts_audit/token_created.html"
    form = AccessTokenForm
    list_display = ["name", "user", "start", "state", "created", "expires"]
    list_select_related = ["user"]
    list_per_page = 50
    search_fields = ["name", "prefix", "user__username"]
    search_help_text = "Name, beginning of the token, or user"
    autocomplete_fields = ["user"]
    actions = ["revoke"]
    add_fieldsets = [(None, {"fields": ["user", "name", "expires_at"]})]
    fields = [("name", "user"), ("start", "state"), ("created", "expires")]

    def title_of(self, obj: AccessToken) -> str:
        return f"Access token for {obj.user}"

    @action(description="Revoke", permissions=["revoke"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[AccessToken]) -> None:
        for token in queryset.filter(revoked_at=None):
            revoke_token(token)
            self.log_change(request, token, "Revoked.")
            self.message_user(request, f"{token} is revoked and refused from now on.", messages.SUCCESS)

    @display(description="Begins with")
    def start(self, token: AccessToken) -> str:
        return show_code(f"{token.prefix}_…")

    @display(description="Created (UTC)")
    def created(self, token: AccessToken) -> str:
        return show_time(token.created_at)

    @display(description="Expires (UTC)")
    def expires(self, token: AccessToken) -> str:
        return show_time(token.expires_at)

    @display(description="State")
    def state(self, token: AccessToken) -> str:
        word = get_state(token)
        return show_badge(word, TOKEN_COLOURS[word])


def get_state(token: AccessToken) -> str:
    if token.revoked_at is not None:
        return "revoked"
    if token.expires_at is not None and token.expires_at <= timezone.now():
        return "expired"
    return "active" if token.user.is_active else "inactive user"
