"""Tokens of sources: their rotation, and the cost of unknown ones."""

import secrets
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.core.exceptions import ValidationError
from django.db import DatabaseError, IntegrityError, OperationalError, connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from prometheus_client import REGISTRY

from alerts_audit.models import Delivery, Source, SourceToken
from alerts_audit.sources import tokens as sources
from alerts_audit.sources.tokens import (
    CACHE_SECONDS,
    UNKNOWN_SECONDS,
    TooManyTokens,
    add_source,
    find_source,
    issue_token,
    revoke_token,
)
from fintech.database import fail_fast

STRANGER = f"src_{'0' * 8}_{'x' * 43}"


class Clock:
    """Time, as far as `sources` knows."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def clock(monkeypatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(sources, "time", clock)
    monkeypatch.setattr(fail_fast, "time", clock)
    monkeypatch.setattr(sources, "cache", sources.TokenCache())
    return clock


def make_source() -> tuple[Source, SourceToken, str]:
    return add_source(name=f"am-{secrets.token_hex(4)}")


def bearer(token: str) -> str:
    return f"Bearer {token}"


def post(token: str, body: bytes = b"{}"):
    return Client().post("/alert", body, content_type="application/json", HTTP_AUTHORIZATION=bearer(token))


@pytest.fixture
def broken_database(monkeypatch):
    def fail(*_args, **_kwargs):
        raise OperationalError("the database is down")

    def breaks():
        monkeypatch.setattr(SourceToken.objects, "filter", fail)

    return breaks


# --- Reports -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        STRANGER,
        f"Basic {STRANGER}",
        f"Bearer {STRANGER}",
        f"Bearer {STRANGER}x",
        "Bearer src_",
        "Bearer \0",
        "Bearer " + "x" * 8000,
        "Bearer \udcff",
    ],
)
def test_an_unknown_token_has_no_source(header):
    assert find_source(header) is None


def test_deliveries_of_a_source_are_stored_and_counted_under_its_name():
    source, _, secret = make_source()
    reply = post(secret)

    assert reply.status_code == 200
    assert Delivery.objects.get(pk=reply.json()["id"]).source == source.name
    labels = {"source": source.name, "outcome": "stored"}
    assert REGISTRY.get_sample_value("alert_deliveries_total", labels) == 1
    assert REGISTRY.get_sample_value("alert_deliveries_total", labels | {"outcome": "partial"}) == 0


def test_a_new_token_works_at_once_though_a_stranger_was_just_refused(clock):
    assert find_source(bearer(STRANGER)) is None
    source, _, secret = make_source()
    clock.now += UNKNOWN_SECONDS + 0.001

    assert find_source(bearer(secret)) == source.name


def test_a_token_whose_secret_differs_is_refused():
    _, token, secret = make_source()

    assert secret.startswith(f"{token.prefix}_")
    assert find_source(bearer(secret[:-1] + ("x" if secret[-1] != "x" else "y"))) is None


def test_a_revoked_token_is_refused_within_five_seconds(clock):
    source, token, secret = make_source()
    assert find_source(bearer(secret)) == source.name
    revoke_token(token)
    clock.now += CACHE_SECONDS

    assert CACHE_SECONDS <= 4
    assert find_source(bearer(secret)) is None
    assert post(secret).status_code == 401


def test_the_tokens_of_an_inactive_source_are_refused_within_five_seconds(clock):
    source, _, secret = make_source()
    assert find_source(bearer(secret)) == source.name
    Source.objects.filter(pk=source.pk).update(is_active=False)
    clock.now += CACHE_SECONDS

    assert find_source(bearer(secret)) is None


def test_the_token_of_the_environment_needs_no_database(broken_database, settings):
    broken_database()

    assert find_source(bearer(settings.ALERT_TOKEN)) == "alertmanager"


def test_the_token_of_the_environment_is_refused_while_its_source_is_inactive(settings):
    found, before = Source.objects.filter(name="alertmanager"), Delivery.objects.count()
    found.update(is_active=False)
    try:
        reply = post(settings.ALERT_TOKEN)
    finally:
        found.update(is_active=True)

    assert (reply.status_code, reply.json()["code"]) == (401, "alert_unauthorized")
    assert Delivery.objects.count() == before
    assert post(settings.ALERT_TOKEN).status_code == 200


def test_the_default_source_is_a_source_like_any_other_and_may_have_tokens_besides():
    source = Source.objects.get(name="alertmanager")
    token, secret = issue_token(source)
    try:
        assert find_source(bearer(secret)) == "alertmanager"
    finally:
        revoke_token(token)


# --- While the database is down ----------------------------------------------------------------------------


def test_a_known_token_is_accepted_while_the_database_is_unavailable(broken_database, clock):
    source, _, secret = make_source()
    assert find_source(bearer(secret)) == source.name
    broken_database()
    clock.now += 3600

    assert find_source(bearer(secret)) == source.name


def test_an_unseen_token_cannot_be_checked_while_the_database_is_unavailable(broken_database):
    broken_database()
    reply = post(STRANGER)

    assert (reply.status_code, reply.json()["code"]) == (503, "alert_unavailable")
    assert reply["Retry-After"] == "1"


def test_a_malformed_token_is_refused_while_the_database_is_unavailable(broken_database):
    broken_database()

    assert post("wrong").status_code == 401


@pytest.mark.parametrize("error", [OperationalError, DatabaseError])
def test_whatever_is_wrong_with_the_table_the_sender_shall_try_again(monkeypatch, error):
    def fail(*_args, **_kwargs):
        raise error("permission denied")

    monkeypatch.setattr(SourceToken.objects, "filter", fail)

    assert post(STRANGER).status_code == 503


def test_an_unreachable_database_is_not_asked_again_at_once(broken_database):
    broken_database()
    with pytest.raises(OperationalError, match="is down"):
        find_source(bearer(STRANGER))
    with pytest.raises(OperationalError, match="a moment ago"):
        find_source(bearer(STRANGER))


# --- Strangers cost nothing --------------------------------------------------------------------------------


def test_a_thousand_strangers_cost_one_query():
    with CaptureQueriesContext(connection) as queries:
        for number in range(1000):
            assert find_source(bearer(f"src_{'0' * 8}_{number:043}")) is None

    assert len(queries) == 1


def test_a_malformed_token_costs_no_query():
    with CaptureQueriesContext(connection) as queries:
        for number in range(100):
            assert find_source(bearer(f"guess-{number}")) is None

    assert len(queries) == 0


def test_a_thousand_deliveries_of_a_source_cost_one_query():
    source, _, secret = make_source()
    with CaptureQueriesContext(connection) as queries:
        assert {find_source(bearer(secret)) for _ in range(1000)} == {source.name}

    assert len(queries) == 1


# --- Making and revoking -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", "A", "a b", "é", "a\n", "-a", "a" * 65, "alertmanager"])
def test_a_name_that_is_taken_or_not_plain_is_refused(name):
    with pytest.raises(ValidationError):
        add_source(name=name)


@pytest.mark.parametrize("field", ["name", "cluster"])
def test_the_database_refuses_such_a_name_too(field):
    with pytest.raises(IntegrityError, match=f"source_{field}_plain"):
        Source.objects.create(**{"name": f"am-{secrets.token_hex(4)}", field: "Not plain\n"})


@pytest.mark.parametrize("field", ["name", "cluster"])
def test_a_name_or_cluster_cannot_be_changed(field):
    source, _, _ = make_source()
    with pytest.raises(IntegrityError, match="refused"):
        Source.objects.filter(pk=source.pk).update(**{field: "another"})

    Source.objects.filter(pk=source.pk).update(is_active=False, heartbeat_seconds=60)


def test_only_the_hash_of_a_token_is_stored():
    _, token, secret = make_source()
    with connection.cursor() as cursor:
        cursor.execute("SELECT t::text FROM alerts_audit_sourcetoken t WHERE id = %s", [token.pk])
        row = cursor.fetchone()[0]

    assert token.prefix in row
    assert secret[len(token.prefix) :] not in row


def test_a_token_is_replaced_without_a_moment_in_which_none_is_valid(clock):
    source, old, first = make_source()
    new, second = issue_token(source)
    assert {find_source(bearer(secret)) for secret in (first, second)} == {source.name}
    assert revoke_token(old)
    clock.now += CACHE_SECONDS

    assert find_source(bearer(first)) is None
    assert find_source(bearer(second)) == source.name
    assert issue_token(source)[0].place == old.place != new.place


def test_a_third_valid_token_is_refused():
    source, _, _ = make_source()
    issue_token(source)

    with pytest.raises(TooManyTokens):
        issue_token(source)


@pytest.mark.parametrize(("place", "constraint"), [(1, "two_valid"), (2, "two_valid"), (3, "place"), (0, "place")])
def test_the_database_refuses_a_third_valid_token_wherever_it_is_put(place, constraint):
    source, _, _ = make_source()
    issue_token(source)

    with pytest.raises(IntegrityError, match=f"source_token_{constraint}"):
        source.tokens.create(place=place, prefix="src_x", sha256=secrets.token_bytes(32))


def test_one_of_many_concurrent_rotations_succeeds():
    source, _, _ = make_source()

    def rotate(_number) -> bool:
        try:
            issue_token(source)
        except TooManyTokens:
            return False
        finally:
            connection.close()
        return True

    with ThreadPoolExecutor(6) as threads:
        assert sum(threads.map(rotate, range(6))) == 1
    assert source.tokens.filter(revoked_at=None).count() == 2


def test_revoking_twice_keeps_the_first_time():
    _, token, _ = make_source()
    assert revoke_token(token)
    token.refresh_from_db()
    first = token.revoked_at

    assert not revoke_token(token)
    token.refresh_from_db()
    assert token.revoked_at == first


def test_a_source_or_a_token_cannot_be_deleted():
    source, token, _ = make_source()
    for row in (token, source):
        with pytest.raises(DatabaseError, match="permission denied"):
            type(row).objects.filter(pk=row.pk)._raw_delete("default")
