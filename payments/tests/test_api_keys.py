"""API keys in one process: how they are stored, found without a query each, and forgotten in time."""

import hashlib
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from unittest.mock import Mock

import pytest
from django.db import OperationalError, connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from fintech.database.fail_fast import FAILED_SECONDS
from fintech.testing.processes import wait_until
from payments import api_keys
from payments.api.responses import problem_of
from payments.api_keys import ApiKeyCache, Principal, authenticate, create_api_key, revoke_api_key
from payments.errors import PaymentError
from payments.models import ApiKey

SCOPES = ["payments:read"]


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch) -> ApiKeyCache:
    """A memory that knows nothing yet."""
    fresh = ApiKeyCache()
    monkeypatch.setattr(api_keys, "cache", fresh)
    return fresh


@pytest.fixture
def secret(merchant, cache) -> str:
    return create_api_key(merchant=merchant, name="shop", scopes=SCOPES)[1]


def code_of(header: str | None) -> str:
    with pytest.raises(PaymentError) as refusal:
        authenticate(header)
    return refusal.value.code


def test_only_the_hash_of_a_key_is_stored(merchant):
    row, secret = create_api_key(merchant=merchant, name="shop", scopes=SCOPES)

    stored = ApiKey.objects.values().get(pk=row.pk)
    assert bytes(stored["secret_sha256"]) == hashlib.sha256(secret.encode()).digest()
    assert secret.startswith(stored["prefix"] + "_")
    assert secret.split("_", 2)[2] not in str(stored)


def test_no_two_keys_are_alike(merchant):
    made = {create_api_key(merchant=merchant, name="shop", scopes=SCOPES)[1] for _ in range(20)}

    assert len(made) == len({secret[:11] for secret in made}) == 20
    assert min(map(len, made)) >= 11 + 1 + 43  # 256 bits


def test_a_principal_does_not_show_its_hash(secret):
    assert "sha256" not in repr(authenticate(f"Bearer {secret}"))


def test_a_key_is_asked_for_once_and_then_remembered(secret):
    with CaptureQueriesContext(connection) as queries:
        found = [authenticate(f"Bearer {secret}") for _ in range(100)]

    assert len(queries) == 1
    assert len(set(map(id, found))) == 1


def test_a_prefix_that_does_not_exist_is_remembered_too(cache):
    with CaptureQueriesContext(connection) as queries:
        for number in range(100):
            assert code_of(f"Bearer fk_nosuchke_{number}") == "invalid_api_key"

    assert len(queries) == 1


NO_KEYS = [None, "", "Bearer", "Bearer ", "Bearer x", "Bearer  x", "Basic fk_a_x", "Bearer fk_é", "Bearer fk_\0a_x"]


@pytest.mark.parametrize("header", NO_KEYS)
def test_a_malformed_key_costs_no_query(cache, header):
    with CaptureQueriesContext(connection) as queries:
        assert code_of(header) in ("missing_api_key", "invalid_api_key")

    assert len(queries) == 0


def test_the_prefix_alone_is_not_enough(secret):
    for wrong in (secret[:-1], secret + "a", secret[:12], secret[:11], secret.upper()):
        assert code_of(f"Bearer {wrong}") == "invalid_api_key"


def test_cached_keys_expire(merchant, cache, monkeypatch):
    row, secret = create_api_key(merchant=merchant, name="shop", scopes=SCOPES)
    authenticate(f"Bearer {secret}")
    revoke_api_key(row)

    assert authenticate(f"Bearer {secret}")
    later = time.monotonic() + api_keys.CACHE_SECONDS
    monkeypatch.setattr(api_keys.time, "monotonic", lambda: later)
    assert code_of(f"Bearer {secret}") == "revoked_api_key"
    assert api_keys.CACHE_SECONDS < 5


def test_the_answer_of_a_slow_query_counts_from_its_beginning(secret, monkeypatch):
    """Or a key that was revoked meanwhile would live for longer than promised."""
    load, now = api_keys._load, [100.0]
    monkeypatch.setattr(api_keys.time, "monotonic", lambda: now[0])

    def slow(prefixes: list[str]) -> dict[str, Principal]:
        found = load(prefixes)
        now[0] += api_keys.CACHE_SECONDS
        return found

    monkeypatch.setattr(api_keys, "_load", slow)
    authenticate(f"Bearer {secret}")
    with CaptureQueriesContext(connection) as queries:
        authenticate(f"Bearer {secret}")

    assert len(queries) == 1


def test_revoking_again_changes_nothing(merchant):
    row, _ = create_api_key(merchant=merchant, name="shop", scopes=SCOPES)
    revoke_api_key(row)
    first = ApiKey.objects.get(pk=row.pk).revoked_at

    revoke_api_key(row)

    assert ApiKey.objects.get(pk=row.pk).revoked_at == first


def test_only_the_holder_of_the_secret_learns_the_reason(merchant, cache):
    row, secret = create_api_key(
        merchant=merchant, name="shop", scopes=SCOPES, expires_at=timezone.now() - timedelta(days=1)
    )

    assert code_of(f"Bearer {secret}") == "expired_api_key"
    assert code_of(f"Bearer {row.prefix}_guess") == "invalid_api_key"


def test_many_unknown_prefixes_do_not_fill_the_memory(cache, monkeypatch):
    monkeypatch.setattr(api_keys, "MAX_CACHED_KEYS", 10)
    monkeypatch.setattr(api_keys, "_load", lambda prefixes: {})

    for number in range(100):
        cache.find(f"fk_{number:08}")

    assert len(cache._unknown) <= 10


def test_unknown_prefixes_do_not_displace_a_key_that_exists(secret, cache, monkeypatch):
    monkeypatch.setattr(api_keys, "MAX_CACHED_KEYS", 10)
    authenticate(f"Bearer {secret}")
    with monkeypatch.context() as patch:
        patch.setattr(api_keys, "_load", lambda prefixes: {})
        for number in range(100):
            cache.find(f"fk_{number:08}")

    with CaptureQueriesContext(connection) as queries:
        authenticate(f"Bearer {secret}")

    assert len(queries) == 0


def test_a_key_that_is_read_again_does_not_wait_for_unknown_prefixes(secret, cache, monkeypatch):
    """Anyone can send a thousand of them, and each costs a query."""
    authenticate(f"Bearer {secret}")
    load, searching, go = api_keys._load, threading.Event(), threading.Event()

    def load_or_wait(prefixes: list[str]) -> dict[str, Principal]:
        if secret.startswith(prefixes[0]):
            return load(prefixes)
        searching.set()
        assert go.wait(10)
        return {}

    monkeypatch.setattr(api_keys, "_load", load_or_wait)
    later = time.monotonic() + api_keys.CACHE_SECONDS
    monkeypatch.setattr(api_keys.time, "monotonic", lambda: later)
    with ThreadPoolExecutor(1) as threads:
        unknown = threads.submit(cache.find, "fk_00000000")
        assert searching.wait(10)
        try:
            assert authenticate(f"Bearer {secret}")
            assert not unknown.done()
        finally:
            go.set()


def hold_queries(monkeypatch: pytest.MonkeyPatch) -> tuple[list[set[str]], threading.Event]:
    """Let each query wait for an event. Returns the prefixes of the queries, and the event."""
    load, asked, go = api_keys._load, list[set[str]](), threading.Event()

    def slow(prefixes: list[str]) -> dict[str, Principal]:
        asked.append(set(prefixes))
        assert go.wait(10)
        try:
            return load(prefixes)
        finally:
            connection.close()

    monkeypatch.setattr(api_keys, "_load", slow)
    return asked, go


def test_all_requests_that_wait_for_one_key_share_one_query(secret, cache, monkeypatch):
    asked, go = hold_queries(monkeypatch)
    with ThreadPoolExecutor(8) as threads:
        waiting = [threads.submit(authenticate, f"Bearer {secret}") for _ in range(8)]
        go.set()

    assert len({id(principal.result()) for principal in waiting}) == 1
    assert len(asked) == 1


def test_a_key_that_is_read_for_the_first_time_waits_for_two_queries_at_most(secret, cache, monkeypatch):
    """It waited for one query for each unknown prefix before it."""
    asked, go = hold_queries(monkeypatch)
    unknown = [f"fk_{number:08}" for number in range(20)]
    with ThreadPoolExecutor(21) as threads:
        try:
            threads.submit(cache.find, unknown[0])
            wait_until(lambda: asked, what="the first query")
            for prefix in unknown[1:]:
                threads.submit(cache.find, prefix)
            wait_until(lambda: len(cache._search.waiting) == 20, what="all others wait")
            found = threads.submit(authenticate, f"Bearer {secret}")
            wait_until(lambda: len(cache._search.waiting) == 21, what="the key waits")
        finally:
            go.set()

    assert found.result()
    assert asked == [{unknown[0]}, {*unknown[1:], secret[:11]}]
    assert not cache._search.waiting


def test_waiting_requests_share_a_query_that_takes_longer_than_its_result_is_valid(cache, monkeypatch):
    asked, go, now = list[set[str]](), threading.Event(), [100.0]
    monkeypatch.setattr(api_keys.time, "monotonic", lambda: now[0])

    def slow(prefixes: list[str]) -> dict[str, Principal]:
        asked.append(set(prefixes))
        assert go.wait(10)
        now[0] += 2 * api_keys.UNKNOWN_SECONDS
        connection.close()
        return {}

    monkeypatch.setattr(api_keys, "_load", slow)
    unknown = [f"fk_{number:08}" for number in range(10)]
    with ThreadPoolExecutor(10) as threads:
        try:
            threads.submit(cache.find, unknown[0])
            wait_until(lambda: asked, what="the first query")
            now[0] += 0.1  # the others arrive while it runs
            found = [threads.submit(cache.find, prefix) for prefix in unknown[1:]]
            wait_until(lambda: len(cache._search.waiting) == 10, what="all others wait")
        finally:
            go.set()

    assert [one.result() for one in found] == [None] * 9
    assert asked == [{unknown[0]}, set(unknown[1:])]


def test_an_unavailable_database_fails_all_waiting_requests_at_once(cache, monkeypatch):
    asked, go = [], threading.Event()

    def fail(prefixes: list[str]) -> None:
        asked.append(prefixes)
        assert go.wait(10)
        raise OperationalError("couldn't get a connection after 3.00 sec")

    monkeypatch.setattr(api_keys, "_load", fail)
    with ThreadPoolExecutor(8) as threads:
        waiting = [threads.submit(cache.find, f"fk_{number:08}") for number in range(8)]
        go.set()

    assert all(isinstance(each.exception(), OperationalError) for each in waiting)
    assert len(asked) == 1


def test_after_a_moment_the_database_is_asked_again(secret, cache, monkeypatch):
    now = [time.monotonic()]
    monkeypatch.setattr(api_keys.time, "monotonic", lambda: now[0])
    with monkeypatch.context() as patch:
        patch.setattr(api_keys, "_load", Mock(side_effect=OperationalError))
        with pytest.raises(OperationalError):
            authenticate(f"Bearer {secret}")

    with pytest.raises(OperationalError):
        authenticate(f"Bearer {secret}")
    now[0] += FAILED_SECONDS
    assert authenticate(f"Bearer {secret}")


@pytest.mark.parametrize("scope", ["payments:write", "refunds:write", "", "payments:rea", "*"])
def test_a_scope_is_had_or_not(secret, scope):
    principal = authenticate(f"Bearer {secret}")

    principal.require("payments:read")
    with pytest.raises(PaymentError) as refusal:
        principal.require(scope)
    assert (problem_of(refusal.value).status, refusal.value.code) == (403, "wrong_scope")
