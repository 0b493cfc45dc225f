"""Actions of people on the trail. They reference the episode's key, so they survive a rebuild of the projection."""

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now


class Review(models.Model):
    class Kind(models.TextChoices):
        ACKNOWLEDGE = "acknowledge"
        COMMENT = "comment"
        NOISE = "noise", "Mark as noise"
        INCIDENT = "incident", "Link to an incident"

    episode_key = models.UUIDField()
    kind = models.CharField(max_length=11, choices=Kind.choices)
    text = models.TextField(blank=True, help_text="A comment, the reason for noise, or the address of an incident.")
    author = models.TextField(help_text="The user's name at that time.")
    author_id = models.BigIntegerField()
    at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering = ["id"]
        default_permissions = ("view",)
        permissions = [("review_episode", "Can review alerts"), ("export_trail", "Can export and verify the trail")]
        indexes = [
            models.Index(fields=["episode_key", "id"], name="review_of_episode"),
            models.Index(fields=["kind", "at"], name="review_kind_at"),
        ]
        constraints = [
            models.CheckConstraint(condition=Q(kind="acknowledge") | ~Q(text=""), name="review_says_something"),
            # The first acknowledgement counts; a second one is refused.
            models.UniqueConstraint(
                fields=["episode_key"], condition=Q(kind="acknowledge"), name="review_acknowledged_once"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} by {self.author}"


class View(models.Model):
    """A page view of the trail."""

    user = models.TextField()
    user_id = models.BigIntegerField()
    what = models.TextField(help_text="The kind of page, such as episode or export.")
    key = models.TextField(blank=True, help_text="The item or the filter.")
    at = models.DateTimeField(db_default=Now())
    request_id = models.TextField(null=True)

    class Meta:
        ordering = ["-id"]
        default_permissions = ("view",)

    def __str__(self) -> str:
        return f"{self.user} viewed {self.what} {self.key}"
