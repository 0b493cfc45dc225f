"""Authentication of sources by bearer token, and creation, listing and revocation of tokens.

The token in ALERT_TOKEN belongs to the source "alertmanager" and needs no database. All others have the form `src_<8
characters>_<secret>`; only their SHA-256 is stored. There are few valid tokens, so each process caches all of them for
`CACHE_SECONDS`: an unknown token costs no query of its own, and a revoked one is refused within five seconds
everywhere.
"""

import threading
import time

from django.conf import settings
from django.db import Error as DatabaseTrouble
from django.db import connections
from django.db.models.functions import Now
from django.db.transaction import atomic

from alerts_audit.models import Source, SourceToken
from alerts_audit.models.sources import DEFAULT_SOURCE
from alerts_audit.sources import metrics
from fintech import tokens
from fintech.database.fail_fast import FailFast

CACHE_SECONDS = 3.0
# A token that is not in the cache may be new, and must work immediately: after a 401 Alertmanager does not repeat
# before its group's next interval. So the tokens are read again, at most this often, however many unknown tokens
# arrive.
UNKNOWN_SECONDS = 0.05

PLACES = (1, 2)


class TooManyTokens(Exception):
    """The source has two valid tokens already."""


# --- Authentication -----------------------------------------------------------------------------------------------


class TokenCache:
    """The valid tokens: SHA-256 -> name of the source. Thread-safe."""

    def __init__(self) -> None:
        self._known: dict[bytes, str] = {}
        self._loaded_at = float("-inf")
        self._fail_fast = FailFast()
        self._lock = threading.Lock()

    def find(self, digest: bytes) -> str | None:
        """Return the source, or None if there is no such token.

        Raise django.db.Error if that is unknown. While the database is unavailable, cached tokens stay valid.
        """
        if self._is_fresh(digest):
            return self._known.get(digest)
        with self._lock:  # one query for all waiting threads
            if not self._is_fresh(digest):
                try:
                    self._load()
                except DatabaseTrouble:
                    if digest not in self._known:
                        raise
            return self._known.get(digest)

    def _is_fresh(self, digest: bytes) -> bool:
        age = time.monotonic() - self._loaded_at
        return age < (CACHE_SECONDS if digest in self._known else UNKNOWN_SECONDS)

    def _load(self) -> None:
        start = time.monotonic()  # the result of a slow query was valid when the query began
        with self._fail_fast.guard():
            valid = SourceToken.objects.filter(revoked_at=None, source__is_active=True)
            rows = list(valid.values_list("sha256", "source__name"))
        self._known = {bytes(digest): source for digest, source in rows}
        self._loaded_at = start
        for source in set(self._known.values()):
            metrics.initialize(source)


cache = TokenCache()


def find_source(authorization: str) -> str | None:
    """Return the name of the source of an Authorization header, or None if the token is unknown.

    Raise django.db.Error if that is unknown. Hashes are compared, so timing reveals nothing about a token.
    """
    token = tokens.read_bearer(authorization)
    if tokens.matches(token, tokens.digest(settings.ALERT_TOKEN)):
        return DEFAULT_SOURCE
    return cache.find(tokens.digest(token)) if tokens.read_prefix(token, tokens.SOURCE) else None


def visible_part(authorization: str) -> str | None:
    """Return the part of a refused token that may be logged: the prefix, if it has our form."""
    return tokens.read_prefix(tokens.read_bearer(authorization), tokens.SOURCE)


# --- Making and revoking -----------------------------------------------------------------------------------


def ensure_default_source(*, using: str, **_: object) -> None:
    """Create the source of ALERT_TOKEN after each migration."""
    if Source._meta.db_table in connections[using].introspection.table_names():
        Source.objects.using(using).get_or_create(name=DEFAULT_SOURCE)


@atomic
def add_source(*, name: str, cluster: str = "main") -> tuple[Source, SourceToken, str]:
    """Create a source with its first token. The last part of the result is the token itself, never shown again.

    Raise ValidationError if the name is taken or not plain.
    """
    source = Source(name=name, cluster=cluster)
    source.full_clean()
    source.save()
    return source, *issue_token(source)


@atomic
def issue_token(source: Source) -> tuple[SourceToken, str]:
    """Create another token of `source`, beside the one in use. Raise TooManyTokens."""
    Source.objects.select_for_update().get(pk=source.pk)
    taken = set(source.tokens.filter(revoked_at=None).values_list("place", flat=True))
    free = [place for place in PLACES if place not in taken]
    if not free:
        raise TooManyTokens(f"{source} has two valid tokens: revoke one of them first.")
    token = tokens.issue(tokens.SOURCE)
    return source.tokens.create(place=free[0], prefix=token.prefix, sha256=token.sha256), token.secret


def valid_tokens(source: Source) -> list[str]:
    """Return the names of the valid tokens: the setting's, and the beginnings of others (prefetched `tokens`)."""
    own = ["ALERT_TOKEN"] if source.name == DEFAULT_SOURCE else []
    return own + [str(token) for token in source.tokens.all() if token.revoked_at is None]


def heartbeat_alerts() -> list[str]:
    """Return the alerts that always fire, so that their absence is noticed (Watchdog).

    Heartbeat alerts are excluded from the alert counts shown to users.
    """
    return sorted(set(Source.objects.values_list("heartbeat_alert", flat=True)))


def revoke_token(token: SourceToken) -> bool:
    """Revoke a token. Return True if it was valid until now."""
    return bool(SourceToken.objects.filter(pk=token.pk, revoked_at=None).update(revoked_at=Now()))
