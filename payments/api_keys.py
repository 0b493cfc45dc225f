"""API keys: making them, and telling whose they are without a query for each request.

A key reads `fk_<8 characters>_<secret>`. The prefix finds the row, the SHA-256 of the whole key proves the secret.
Rows are kept in memory for `CACHE_SECONDS`, so a revoked key stops working within five seconds everywhere.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from django.utils import timezone

from fintech import tokens
from fintech.database.connections import query
from fintech.http.problems import Problem
from fintech.server import cooperation
from payments.fraud import MerchantContext
from payments.models import ApiKey, Merchant

CACHE_SECONDS = 3.0
# Prefixes that do not exist are remembered too, but not for long: a new key shall work at once.
UNKNOWN_SECONDS = 0.5
LARGEST_CACHE = 10_000


@dataclass(frozen=True)
class Principal:
    """Who is asking: a key and its merchant, as they were at most `CACHE_SECONDS` ago."""

    key_id: int
    secret_sha256: bytes = field(repr=False)
    scopes: frozenset[str]
    expires_at: datetime | None
    revoked: bool
    merchant_id: int
    merchant_active: bool
    fee_basis_points: int
    gateway_namespace: UUID
    fraud: MerchantContext

    def require(self, scope: str) -> None:
        if scope not in self.scopes:
            raise Problem(403, "wrong_scope", f"This API key lacks the scope {scope}.")


def create_api_key(
    *, merchant: Merchant, name: str, scopes: Sequence[str], expires_at: datetime | None = None
) -> tuple[ApiKey, str]:
    """Store a new key; the second part of the answer is the key itself, which nobody can show again."""
    token = tokens.issue(tokens.API_KEY)
    row = ApiKey.objects.create(
        merchant=merchant,
        name=name,
        prefix=token.prefix,
        secret_sha256=token.sha256,
        scopes=list(scopes),
        expires_at=expires_at,
    )
    return row, token.secret


def revoke_api_key(key: ApiKey) -> None:
    """From now on refused; revoking again changes nothing."""
    ApiKey.objects.filter(pk=key.pk, revoked_at=None).update(revoked_at=timezone.now())


class KeyRing:
    """The keys this process knows. Safe for threads: entries are replaced whole."""

    def __init__(self) -> None:
        self._entries: dict[str, tuple[float, Principal | None]] = {}
        self._fail_fast = tokens.FailFast()
        self._lock = cooperation.Lock()

    def find(self, prefix: str) -> Principal | None:
        entry = self._entries.get(prefix)
        if entry is not None and time.monotonic() < entry[0]:
            return entry[1]
        with self._lock:  # one query for all who wait for the same news
            entry = self._entries.get(prefix)
            if entry is not None and time.monotonic() < entry[0]:
                return entry[1]
            # What a slow query says was true when it began.
            start = time.monotonic()
            with self._fail_fast.guard():
                principal = query(_load, prefix)
            if len(self._entries) >= LARGEST_CACHE:
                self._entries.clear()
            keep = UNKNOWN_SECONDS if principal is None else CACHE_SECONDS
            self._entries[prefix] = (start + keep, principal)
        return principal

    def forget(self) -> None:
        """Read every key again when it is next used."""
        self._entries.clear()


def _load(prefix: str) -> Principal | None:
    row = ApiKey.objects.select_related("merchant").filter(prefix=prefix).first()
    if row is None:
        return None
    merchant = row.merchant
    return Principal(
        key_id=row.pk,
        secret_sha256=bytes(row.secret_sha256),
        scopes=frozenset(row.scopes),
        expires_at=row.expires_at,
        revoked=row.revoked_at is not None,
        merchant_id=merchant.pk,
        merchant_active=merchant.is_active,
        fee_basis_points=merchant.fee_basis_points,
        gateway_namespace=merchant.gateway_namespace,
        fraud=MerchantContext(
            country=merchant.country,
            fraud_threshold=merchant.fraud_threshold,
            fraud_weights=merchant.fraud_weights,
            unscored_limit_minor=merchant.unscored_limit_minor,
        ),
    )


ring = KeyRing()


def _refused(code: str, detail: str) -> Problem:
    return Problem(401, code, detail, headers={"WWW-Authenticate": "Bearer"})


def authenticate(header: str | None) -> Principal:
    """The principal of an Authorization header; a Problem 401 that says why not."""
    if not header:
        raise _refused("missing_api_key", "Send Authorization: Bearer <api key>.")
    secret = tokens.read_bearer(header)
    if not secret:
        raise _refused("invalid_api_key", "Send Authorization: Bearer <api key>.")
    principal = None
    if secret.isascii() and secret.startswith(tokens.API_KEY) and "\0" not in secret:
        principal = ring.find(secret[:11])
    if principal is None or not tokens.matches(secret, principal.secret_sha256):
        raise _refused("invalid_api_key", "This API key does not exist.")
    if principal.revoked:
        raise _refused("revoked_api_key", "This API key was revoked.")
    if principal.expires_at is not None and principal.expires_at <= timezone.now():
        raise _refused("expired_api_key", "This API key has expired.")
    if not principal.merchant_active:
        raise Problem(403, "inactive_merchant", "This merchant is not active.")
    return principal
