"""Access to the trail's API without a browser: a person's token, with that person's permissions."""

from django.conf import settings
from django.db import models
from django.db.models.functions import Now


class AccessToken(models.Model):
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="alert_tokens")
    name = models.CharField(max_length=100, help_text="The program that uses this token.")
    prefix = models.CharField(max_length=12, editable=False)
    sha256 = models.BinaryField(max_length=32, editable=False, unique=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    expires_at = models.DateTimeField(null=True, blank=True, help_text="Empty: it does not expire.")
    revoked_at = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"
