"""Sources and their tokens in the admin: a token is shown once, and what is fixed stays."""

import hashlib
import secrets

import pytest
from django.test import Client

from alerts_audit.models import Source, SourceToken
from alerts_audit.sources.tokens import TokenCache, add_source, issue_token
from alerts_audit.tests.factories import make_user, sign_in

SOURCES = "/admin/alerts_audit/source/"
TOKENS = "/admin/alerts_audit/sourcetoken/"


@pytest.fixture
def root() -> Client:
    return sign_in(make_user(is_superuser=True))


@pytest.fixture
def source() -> Source:
    return add_source(name=f"am-{secrets.token_hex(4)}")[0]


def form(name: str, **fields: object) -> dict[str, object]:
    usual = {"cluster": "main", "is_active": "on", "heartbeat_alert": "Watchdog", "heartbeat_seconds": 900}
    return {"name": name, "alertmanager_url": "", "prometheus_url": "", **usual, **fields}


def secret_in(page: str) -> str:
    return page.split('id="secret"')[1].split(">", 1)[1].split("<", maxsplit=1)[0].strip()


def owner_of(secret: str) -> str | None:
    return TokenCache().find(hashlib.sha256(secret.encode()).digest())


@pytest.mark.parametrize("permission", [(), ("view_source", "view_sourcetoken")])
def test_a_source_or_a_token_needs_the_permission_to_add_it(permission, source):
    client = sign_in(make_user(*permission))

    assert client.post(f"{SOURCES}add/", form("am-new")).status_code == 403
    assert client.post(f"{TOKENS}add/", {"source": source.pk}).status_code == 403
    assert source.tokens.count() == 1


def test_a_viewer_cannot_revoke(source):
    client = sign_in(make_user("view_sourcetoken"))
    token = source.tokens.get()

    assert client.post(TOKENS, {"action": "revoke", "_selected_action": token.pk}).status_code == 403
    assert source.tokens.get().revoked_at is None


def test_a_new_source_comes_with_a_token_that_is_shown_once(root):
    name = f"am-{secrets.token_hex(4)}"
    page = root.post(f"{SOURCES}add/", form(name, cluster="berlin"))
    secret = secret_in(page.text)

    assert owner_of(secret) == name
    assert Source.objects.get(name=name).cluster == "berlin"
    assert secret not in root.get(TOKENS).text


@pytest.mark.parametrize("name", ["alertmanager", "Not plain", ""])
def test_a_name_that_is_taken_or_not_plain_makes_no_source(root, name):
    before = SourceToken.objects.count()
    page = root.post(f"{SOURCES}add/", form(name))

    assert page.status_code == 200
    assert "error" in page.text
    assert SourceToken.objects.count() == before


def test_the_name_and_the_cluster_are_not_offered_for_change(root, source):
    root.post(f"{SOURCES}{source.pk}/change/", form("another", cluster="another", heartbeat_seconds=60))

    changed = Source.objects.get(pk=source.pk)
    assert (changed.name, changed.cluster, changed.heartbeat_seconds) == (source.name, "main", 60)


def test_a_source_is_switched_off(root, source):
    root.post(f"{SOURCES}{source.pk}/change/", form("", is_active=""))

    assert not Source.objects.get(pk=source.pk).is_active
    assert "inactive" in root.get(SOURCES).text


def test_the_addresses_in_effect_are_shown_with_the_setting_they_are_from(root, source, settings):
    settings.ALERTMANAGER_URL, settings.PROMETHEUS_URL = "http://am.example:9093", "http://prom.example:9090"
    Source.objects.filter(pk=source.pk).update(prometheus_url="http://own.example:9090")
    default = Source.objects.get(name="alertmanager")

    for page in (SOURCES, f"{SOURCES}{default.pk}/change/"):
        assert "http://am.example:9093 (ALERTMANAGER_URL)" in root.get(page).text
        assert "http://prom.example:9090 (PROMETHEUS_URL)" in root.get(page).text
    page = root.get(f"{SOURCES}{source.pk}/change/").text
    assert "http://own.example:9090" in page
    assert "am.example" not in page
    assert "_URL)" not in page


def test_a_second_token_is_made_and_a_third_is_refused(root, source):
    second = secret_in(root.post(f"{TOKENS}add/", {"source": source.pk}).text)
    assert owner_of(second) == source.name

    page = root.post(f"{TOKENS}add/", {"source": source.pk})
    assert "two valid tokens" in page.text
    assert source.tokens.count() == 2


def test_a_token_is_revoked(root, source):
    token, secret = issue_token(source)
    root.post(TOKENS, {"action": "revoke", "_selected_action": token.pk})

    assert owner_of(secret) is None
    assert "revoked" in root.get(f"{TOKENS}{token.pk}/change/").text


@pytest.mark.parametrize("page", [SOURCES, TOKENS])
def test_nothing_is_deleted_even_by_a_superuser(root, source, page):
    row = source if page == SOURCES else source.tokens.get()

    assert root.post(f"{page}{row.pk}/delete/", {"post": "yes"}).status_code == 403
    assert root.post(page, {"action": "delete_selected", "_selected_action": row.pk}).status_code == 403
    assert type(row).objects.filter(pk=row.pk).exists()
