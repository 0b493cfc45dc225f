"""API keys: create them, and authenticate requests without a query for each.

A key reads `fk_<8 characters>_<secret>`. The prefix finds the row, the SHA-256 of the whole key proves the secret.
Rows are cached for `CACHE_SECONDS`, so a revoked key stops working within five seconds everywhere.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from django.contrib.postgres.expressions import ArraySubquery
from django.contrib.postgres.fields import ArrayField
from django.db.models import JSONField, OuterRef, Q
from django.db.models.functions import JSONArray
from django.utils import timezone

from fintech import tokens
from fintech.database.connections import query
from fintech.database.fail_fast import FailFast
from fintech.server import cooperation
from payments.errors import AuthenticationFailed, PermissionDenied
from payments.fraud.rules import MerchantContext, VelocityLimit
from payments.gateway.registry import gateways
from payments.gateway.routing import Rules, rules_of
from payments.models import ApiKey, FraudListEntry, GatewayRoute, Merchant, VelocityRule

CACHE_SECONDS = 3.0
# Unknown prefixes are cached too, but briefly: a new key must work soon.
UNKNOWN_SECONDS = 0.5
MAX_CACHED_KEYS = 10_000


@dataclass(frozen=True)
class Principal:
    """The caller: a key and its merchant, at most `CACHE_SECONDS` old."""

    key_id: int
    secret_sha256: bytes = field(repr=False)
    scopes: frozenset[str]
    expires_at: datetime | None
    revoked: bool
    merchant_id: int
    merchant_active: bool
    fee_basis_points: int
    gateway_namespace: UUID
    return_hosts: frozenset[str]
    fraud: MerchantContext
    refuse_forbidden_retries: bool = False
    routes: Rules = field(default_factory=dict)

    def require(self, scope: str) -> None:
        if scope not in self.scopes:
            raise PermissionDenied("wrong_scope", f"This API key lacks the scope {scope}: use a key with this scope.")


def create_api_key(
    *, merchant: Merchant, name: str, scopes: Sequence[str], expires_at: datetime | None = None
) -> tuple[ApiKey, str]:
    """Store a new key. Returns its row and the key itself, which cannot be read again."""
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
    """Refuse the key from now on. Revoking it again changes nothing."""
    ApiKey.objects.filter(pk=key.pk, revoked_at=None).update(revoked_at=timezone.now())


# Until when it is valid, the key if it exists, and when its query began.
Entry = tuple[float, Principal | None, float]
Entries = dict[str, Entry]  # by prefix


class _Lane:
    """The requests that wait to read a key, by its prefix. One of them at a time reads the keys of all."""

    def __init__(self) -> None:
        self.lock = cooperation.Lock()
        self.waiting: set[str] = set()


class ApiKeyCache:
    """The keys that this process has read. Safe for threads: entries are replaced as a whole.

    Anyone can send prefixes that do not exist. They fill and empty a cache of their own, and one query reads all that
    wait, so a key that the process reads for the first time waits for two queries at most. A key that it reads again
    does not wait for them.
    """

    def __init__(self) -> None:
        self._known: Entries = {}
        self._unknown: Entries = {}
        self._fail_fast = FailFast()
        self._renewal, self._search = _Lane(), _Lane()

    def find(self, prefix: str) -> Principal | None:
        if entry := self._valid_entry(prefix):
            return entry[1]
        lane = self._renewal if prefix in self._known else self._search
        arrived = time.monotonic()
        lane.waiting.add(prefix)
        with lane.lock:
            try:
                if entry := self._valid_entry(prefix, arrived):
                    return entry[1]
                # Another request with this prefix may have removed it.
                return self._read([*lane.waiting | {prefix}]).get(prefix)
            finally:
                lane.waiting.discard(prefix)

    def _read(self, prefixes: list[str]) -> dict[str, Principal]:
        start = time.monotonic()  # the result of a slow query was true when it began
        with self._fail_fast.guard():
            found = query(_load, prefixes)
        for prefix in prefixes:
            if principal := found.get(prefix):
                self._keep(self._known, prefix, (start + CACHE_SECONDS, principal, start))
            else:
                self._known.pop(prefix, None)
                self._keep(self._unknown, prefix, (start + UNKNOWN_SECONDS, None, start))
        return found

    def _valid_entry(self, prefix: str, arrived: float = math.inf) -> Entry | None:
        """Return a result that is valid, or whose query began after a request `arrived`, however long it took."""
        entry = self._known.get(prefix) or self._unknown.get(prefix)
        return entry if entry is not None and (time.monotonic() < entry[0] or entry[2] >= arrived) else None

    @staticmethod
    def _keep(entries: Entries, prefix: str, entry: Entry) -> None:
        if len(entries) >= MAX_CACHED_KEYS:
            entries.clear()
        entries[prefix] = entry

    def forget(self) -> None:
        """Read every key again when it is next used."""
        self._known.clear()
        self._unknown.clear()


def _entries(name: FraudListEntry.List) -> ArraySubquery:
    """Return the merchant's entries as an expression: key, merchant and lists are one statement."""
    rows = FraudListEntry.objects.filter(merchant=OuterRef("merchant"), list=name).order_by()
    return ArraySubquery(rows.values_list(JSONArray("field", "value")), output_field=ArrayField(JSONField()))


def _velocity_rules() -> ArraySubquery:
    rows = VelocityRule.objects.filter(merchant=OuterRef("merchant"), is_enabled=True).order_by("id")
    columns = JSONArray("id", "field", "window_seconds", "maximum", "outcome", "currency")
    return ArraySubquery(rows.values_list(columns), output_field=ArrayField(JSONField()))


def _routes() -> ArraySubquery:
    """Return the routes that may apply: those of the merchant, and those of all merchants."""
    rows = GatewayRoute.objects.filter(Q(merchant=OuterRef("merchant")) | Q(merchant=None)).order_by()
    columns = JSONArray("merchant_id", "currency", "gateway", "fallback")
    return ArraySubquery(rows.values_list(columns), output_field=ArrayField(JSONField()))


def _load(prefixes: Sequence[str]) -> dict[str, Principal]:
    """Return the keys that exist, by prefix."""
    lists = {"blocked": _entries(FraudListEntry.List.BLOCK), "allowed": _entries(FraudListEntry.List.ALLOW)}
    keys = ApiKey.objects.select_related("merchant").annotate(**lists, velocity=_velocity_rules(), routes=_routes())
    return {row.prefix: _principal(row) for row in keys.filter(prefix__in=prefixes)}


def _principal(row: Any) -> Principal:
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
        return_hosts=frozenset(merchant.return_hosts),
        fraud=MerchantContext(
            country=merchant.country,
            fraud_threshold=merchant.fraud_threshold,
            fraud_weights=merchant.fraud_weights,
            unscored_limit_minor=merchant.unscored_limit_minor,
            blocked=frozenset(map(tuple, row.blocked)),
            allowed=frozenset(map(tuple, row.allowed)),
            review_threshold=merchant.review_threshold,
            velocity=tuple(VelocityLimit(*rule) for rule in row.velocity),
        ),
        refuse_forbidden_retries=merchant.refuse_forbidden_retries,
        routes=rules_of(map(tuple, row.routes), gateways.names),
    )


cache = ApiKeyCache()


def authenticate(header: str | None) -> Principal:
    """Return the principal of an Authorization header. Raises AuthenticationFailed or PermissionDenied."""
    if not header:
        raise AuthenticationFailed("missing_api_key", "Send Authorization: Bearer <api key>.")
    secret = tokens.read_bearer(header)
    if not secret:
        raise AuthenticationFailed("invalid_api_key", "Send Authorization: Bearer <api key>.")
    principal = None
    if secret.isascii() and secret.startswith(tokens.API_KEY) and "\0" not in secret:
        principal = cache.find(secret[:11])
    if principal is None or not tokens.matches(secret, principal.secret_sha256):
        raise AuthenticationFailed("invalid_api_key", "This API key does not exist.")
    if principal.revoked:
        raise AuthenticationFailed("revoked_api_key", "This API key was revoked: use another one.")
    if principal.expires_at is not None and principal.expires_at <= timezone.now():
        raise AuthenticationFailed("expired_api_key", "This API key has expired: use another one.")
    if not principal.merchant_active:
        raise PermissionDenied("inactive_merchant", "This merchant is not active: ask the operator of the platform.")
    return principal
