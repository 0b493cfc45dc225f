"""`manage.py alert_source`: manage the senders of alerts and their tokens."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser

from alerts_audit.models import Source, SourceToken
from alerts_audit.sources.tokens import TooManyTokens, add_source, issue_token, revoke_token, valid_tokens
from fintech.secret_files import write_secret


class Command(BaseCommand):
    help = (
        "Add and list sources of alerts (Alertmanagers). To replace a token without losing an alert, `rotate`, give the"
        " new token to the Alertmanager, then `revoke` the old one."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True, metavar="add|list|rotate|revoke")
        add = actions.add_parser("add", help="create a source with its first token")
        add.add_argument("name", help="such as alertmanager-b: lower-case letters, digits, dots, dashes, underscores")
        add.add_argument(
            "--cluster", default="main", help="the high-availability cluster of the source (default: main)"
        )
        actions.add_parser("list", help="show the sources and the beginnings of their valid tokens")
        rotate = actions.add_parser("rotate", help="create a second token beside the one in use")
        rotate.add_argument("name")
        for action in (add, rotate):
            action.add_argument("--token-file", type=Path, help="write the token there (0600) instead of printing it")
        revoke = actions.add_parser("revoke", help="refuse a token, within five seconds in all processes")
        revoke.add_argument("prefix", help="the token's beginning, such as src_0a1b2c3d")

    def handle(self, *args: Any, action: str, **options: Any) -> None:
        actions: dict[str, Callable[..., None]]
        actions = {"add": self.add, "list": self.list, "rotate": self.rotate, "revoke": self.revoke}
        actions[action](
            **{name: options[name] for name in ("name", "cluster", "token_file", "prefix") if name in options}
        )

    def add(self, *, name: str, cluster: str, token_file: Path | None) -> None:
        try:
            source, token, secret = add_source(name=name, cluster=cluster)
        except ValidationError as error:
            raise CommandError(" ".join(error.messages)) from None
        self.hand_over(f"Added {source} of cluster {source.cluster}.", token, secret, token_file)

    def list(self) -> None:
        for source in Source.objects.prefetch_related("tokens"):
            state = "active" if source.is_active else "inactive"
            tokens = ", ".join(valid_tokens(source)) or "-"
            self.stdout.write(f"{source.name:24} {source.cluster:16} {state:9} {tokens}")

    def rotate(self, *, name: str, token_file: Path | None) -> None:
        source = Source.objects.filter(name=name).first()
        if source is None:
            raise CommandError(f"Unknown source {name}.")
        try:
            token, secret = issue_token(source)
        except TooManyTokens as error:
            raise CommandError(str(error)) from None
        self.hand_over(f"{source} has another token beside the one in use.", token, secret, token_file)

    def revoke(self, *, prefix: str) -> None:
        token = SourceToken.objects.filter(prefix=prefix).select_related("source").first()
        if token is None:
            raise CommandError(f"Unknown token {prefix}.")
        if not revoke_token(token):
            raise CommandError(f"{token} was already revoked.")
        self.stdout.write(f"{token} of {token.source} is revoked. Requests with it are refused within five seconds.")

    def hand_over(self, what: str, token: SourceToken, secret: str, file: Path | None) -> None:
        """Write only the token to stdout, so that it can be piped."""
        if file is None:
            self.say(f"{what} Its token follows; it cannot be shown again.")
            self.stdout.write(secret)
            return
        try:
            write_secret(file, secret)
        except OSError as error:
            revoke_token(token)
            raise CommandError(f"{file} cannot be written: {error}. The token is revoked.") from None
        self.say(f"{what} Its token {token} is in {file}.")

    def say(self, text: str) -> None:
        self.stderr.write(text, self.style.SUCCESS)
