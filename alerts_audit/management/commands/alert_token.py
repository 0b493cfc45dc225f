"""manage.py alert_token USER --name N: an access token for the trail's API, printed once."""

from datetime import timedelta
from typing import Any

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from alerts_audit.models import AccessToken
from alerts_audit.permissions import issue_token


class Command(BaseCommand):
    help = "Create an access token for the alert trail's API, with the permissions of the user."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("user", help="the user of the token")
        parser.add_argument("--name", required=True, help="the program that uses it, up to 100 characters")
        parser.add_argument("--days", type=int, help="valid for so many days (default: until it is revoked)")

    def handle(self, *args: Any, user: str, name: str, days: int | None, **options: Any) -> None:
        person = User.objects.filter(username=user, is_active=True).first()
        if person is None:
            raise CommandError(f"Unknown or inactive user {user!r}.")
        longest = AccessToken._meta.get_field("name").max_length
        if not 0 < len(name) <= (longest or 0):
            raise CommandError(f"Use a name of 1 to {longest} characters.")
        if days is not None and not 1 <= days <= 3650:
            raise CommandError("Use 1 to 3650 days.")
        expires_at = None if days is None else timezone.now() + timedelta(days=days)
        _, secret = issue_token(user=person, name=name, expires_at=expires_at)
        self.stdout.write(secret)
        self.stderr.write("Only its hash is stored, so it cannot be shown again.")
