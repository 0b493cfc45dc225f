"""Merchants and API keys in the admin: what is refused, and a key that is shown once and never again."""

import logging
import secrets
from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.sessions.models import Session
from django.test import Client
from django.utils import timezone

from payments.api_keys import ApiKeyCache, authenticate, create_api_key
from payments.errors import PaymentError
from payments.models import ApiKey, Merchant
from payments.tests.factories import sign_in

pytestmark = pytest.mark.django_db

KEYS = "/admin/payments/apikey/"
MERCHANTS = "/admin/payments/merchant/"


@pytest.fixture(autouse=True)
def _own_ring(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys are remembered for seconds; these tests look at once."""
    monkeypatch.setattr("payments.api_keys.CACHE_SECONDS", 0)
    monkeypatch.setattr("payments.api_keys.UNKNOWN_SECONDS", 0)
    monkeypatch.setattr("payments.api_keys.cache", ApiKeyCache())


@pytest.fixture
def root() -> Client:
    return sign_in(superuser=True)


@pytest.fixture
def api_key(merchant: Merchant) -> ApiKey:
    return create_api_key(merchant=merchant, name="shop", scopes=["payments:read"])[0]


def key_form(merchant_: Merchant, **fields: object) -> dict[str, object]:
    return {
        "merchant": merchant_.pk,
        "name": "shop checkout",
        "scopes": ["payments:read", "payments:write"],
        "expires_at_0": "",
        "expires_at_1": "",
        **fields,
    }


def secret_in(page: str) -> str:
    return page.split('id="secret"')[1].split(">", 1)[1].split("<", maxsplit=1)[0].strip()


# --- Making a key ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"merchant": ""}, "This field is required"),
        ({"merchant": 2**62}, "Select a valid choice"),
        ({"name": ""}, "This field is required"),
        ({"name": "x" * 101}, "at most 100 characters"),
        ({"scopes": []}, "This field is required"),
        ({"scopes": ["payments:read", "admin"]}, "admin is not one of the available choices"),
        ({"expires_at_0": "2020-01-01", "expires_at_1": "00:00"}, "a time in the future"),
        ({"expires_at_0": "soon", "expires_at_1": "00:00"}, "Enter a valid date"),
    ],
)
def test_a_wrong_form_makes_no_key(root, merchant, wrong, text):
    page = root.post(f"{KEYS}add/", key_form(merchant, **wrong)).text

    assert text in page
    assert not ApiKey.objects.filter(merchant=merchant).exists()


@pytest.mark.parametrize("permission", ["view_apikey", "change_apikey", "add_merchant"])
def test_making_a_key_takes_a_permission(merchant, permission):
    client = sign_in(permission)

    assert client.post(f"{KEYS}add/", key_form(merchant)).status_code == 403
    assert not ApiKey.objects.filter(merchant=merchant).exists()


def test_a_key_that_was_made_works_and_may_what_it_should(root, merchant):
    tomorrow = timezone.now() + timedelta(days=1)
    form = key_form(merchant, expires_at_0=f"{tomorrow:%Y-%m-%d}", expires_at_1=f"{tomorrow:%H:%M:%S}")
    page = root.post(f"{KEYS}add/", form)

    principal = authenticate(f"Bearer {secret_in(page.text)}")
    assert principal.merchant_id == merchant.pk
    assert principal.scopes == {"payments:read", "payments:write"}
    assert principal.expires_at == tomorrow.replace(microsecond=0)


def test_the_key_is_shown_once_and_kept_nowhere(root, merchant, caplog):
    caplog.set_level(logging.DEBUG)
    answer = root.post(f"{KEYS}add/", key_form(merchant))
    secret = secret_in(answer.text)
    row = ApiKey.objects.get(merchant=merchant)

    assert answer.status_code == 200  # no redirect: the key would have to wait somewhere
    assert "no-store" in answer["Cache-Control"]
    half = secret.split("_", 2)[2]
    later = [root.get(path).text for path in (KEYS, f"{KEYS}{row.pk}/change/", f"{KEYS}{row.pk}/history/", "/admin/")]
    session = Session.objects.get(session_key=root.session.session_key).get_decoded()
    entries = LogEntry.objects.filter(object_id=row.pk).values_list("object_repr", "change_message")
    everything = [*later, str(session), str(list(entries)), caplog.text, str(answer.headers), str(answer.cookies)]
    assert not [text for text in everything if half in text]
    assert entries
    assert bytes(row.secret_sha256) != half.encode()


def test_a_key_cannot_be_changed_or_deleted(root, api_key):
    for path in ("change/", "delete/"):
        assert root.post(f"{KEYS}{api_key.pk}/{path}", {"name": "mine", "post": "yes"}).status_code == 403
    page = root.get(f"{KEYS}{api_key.pk}/change/").text
    assert 'name="_save"' not in page
    assert ApiKey.objects.get(pk=api_key.pk).name == "shop"


def test_the_list_shows_the_state_of_each_key(root, merchant, api_key, django_assert_max_num_queries):
    create_api_key(merchant=merchant, name="old", scopes=[], expires_at=timezone.now() - timedelta(days=1))
    with django_assert_max_num_queries(5):
        page = root.get(f"{KEYS}?q={merchant.name}").text

    assert "bg-green-100" in page
    assert "expired" in page
    assert f"{api_key.prefix}_…" in page
    Merchant.objects.filter(pk=merchant.pk).update(is_active=False)
    assert "merchant inactive" in root.get(f"{KEYS}?q={merchant.name}").text


# --- Revoking ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("permissions", [(), ("view_apikey",), ("add_apikey", "view_apikey", "change_merchant")])
def test_revoking_takes_a_permission(api_key, permissions):
    client = sign_in(*permissions)

    assert client.post(f"{KEYS}{api_key.pk}/revoke/").status_code == 403
    assert client.get(f"{KEYS}{api_key.pk}/revoke/").status_code == 403
    forged = {"action": "revoke", "_selected_action": api_key.pk, "index": 0}
    assert client.post(KEYS, forged).status_code == 403
    assert ApiKey.objects.get(pk=api_key.pk).revoked_at is None


def test_a_get_only_asks(root, api_key):
    assert "cannot be undone" in root.get(f"{KEYS}{api_key.pk}/revoke/").text
    assert ApiKey.objects.get(pk=api_key.pk).revoked_at is None


def test_a_key_that_does_not_exist_cannot_be_revoked(root):
    assert root.post(f"{KEYS}{2**62}/revoke/").status_code == 404


def test_a_revoked_key_is_refused_and_stays_so(merchant):
    row, secret = create_api_key(merchant=merchant, name="shop", scopes=["payments:read"])
    authenticate(f"Bearer {secret}")
    client = sign_in("view_apikey", "change_apikey")

    assert "is revoked" in client.post(f"{KEYS}{row.pk}/revoke/", follow=True).text
    with pytest.raises(PaymentError, match="revoked"):
        authenticate(f"Bearer {secret}")
    revoked_at = ApiKey.objects.get(pk=row.pk).revoked_at
    assert "was already revoked" in client.post(f"{KEYS}{row.pk}/revoke/", follow=True).text
    assert ApiKey.objects.get(pk=row.pk).revoked_at == revoked_at
    assert "Revoke…" not in client.get(f"{KEYS}{row.pk}/change/").text
    assert [entry.change_message for entry in LogEntry.objects.filter(object_id=row.pk)] == ["Revoked."]


def test_several_keys_are_revoked_from_the_list(root, merchant):
    rows = [create_api_key(merchant=merchant, name="shop", scopes=[])[0] for _ in range(2)]
    root.post(KEYS, {"action": "revoke", "_selected_action": [row.pk for row in rows], "index": 0})

    assert not ApiKey.objects.filter(merchant=merchant, revoked_at=None).exists()


def test_only_keys_that_are_shown_can_be_selected(root, merchant):
    for number in range(51):
        create_api_key(merchant=merchant, name=f"shop {number}", scopes=[])

    assert "across all pages" not in root.get(f"{KEYS}?q={merchant.name}").text


# --- Merchants ---------------------------------------------------------------------------------------------


def merchant_form(**fields: object) -> dict[str, object]:
    return {
        "name": f"Merchant {secrets.token_hex(12)}",
        "country": "FR",
        "is_active": "on",
        "fraud_threshold": "0.8",
        "fraud_weights": '{"country_mismatch": 0.4}',
        "unscored_limit_minor": "5000",
        "fee_basis_points": "150",
        **fields,
    }


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"fraud_weights": '{"contry_mismatch": 0.4}'}, "there is no fraud rule"),
        ({"fraud_weights": '{"country_mismatch": 1.5}'}, "must be a number from 0 to 1"),
        ({"fraud_weights": '{"country_mismatch": NaN}'}, "must be a number from 0 to 1"),
        ({"fraud_weights": '{"country_mismatch": true}'}, "must be a number from 0 to 1"),
        ({"fraud_weights": "[0.4]"}, "must be an object"),
        ({"fraud_weights": "{country: 1"}, "Enter a valid JSON"),
        ({"fraud_weights": "[" * 100_000}, "Enter a valid JSON"),
        ({"fraud_weights": '{"high_amount": ' + "1" * 5000 + "}"}, "Enter a valid JSON"),
        ({"fraud_weights": '{"\\ud800": 1}'}, "there is no fraud rule"),
        ({"fraud_threshold": "1.01"}, "less than or equal to 1"),
        ({"fraud_threshold": "nan"}, "Enter a number"),
        ({"fraud_threshold": ""}, "This field is required"),
        ({"unscored_limit_minor": "-1"}, "greater than or equal to 0"),
        ({"unscored_limit_minor": "9" * 19}, "less than or equal to"),
        ({"fee_basis_points": "10001"}, "less than or equal to 10000"),
        ({"country": "D"}, "two letters of ISO 3166"),
        ({"country": "D1"}, "two letters of ISO 3166"),
        ({"name": ""}, "This field is required"),
    ],
)
def test_a_merchant_that_could_not_be_served_is_refused(root, merchant, wrong, text):
    page = root.post(f"{MERCHANTS}{merchant.pk}/change/", merchant_form(**wrong)).text

    assert text in page
    assert Merchant.objects.get(pk=merchant.pk).fraud_weights == {}


def test_two_merchants_cannot_have_one_name(root, merchant):
    assert "already exists" in root.post(f"{MERCHANTS}add/", merchant_form(name=merchant.name)).text


@pytest.mark.parametrize("permission", ["view_merchant", "add_merchant"])
def test_changing_a_merchant_takes_a_permission(merchant, permission):
    assert sign_in(permission).post(f"{MERCHANTS}{merchant.pk}/change/", merchant_form()).status_code == 403


def test_a_merchant_cannot_be_deleted(root, merchant):
    assert root.post(f"{MERCHANTS}{merchant.pk}/delete/", {"post": "yes"}).status_code == 403
    assert "Delete" not in root.get(f"{MERCHANTS}{merchant.pk}/change/").text


def test_a_merchant_is_added_and_changed(root):
    form = merchant_form(country="fr")
    root.post(f"{MERCHANTS}add/", form)
    merchant = Merchant.objects.get(name=form["name"])
    assert (merchant.country, merchant.fraud_weights) == ("FR", {"country_mismatch": 0.4})

    root.post(f"{MERCHANTS}{merchant.pk}/change/", {**form, "fraud_weights": "", "fee_basis_points": "90"})
    merchant.refresh_from_db()
    assert (merchant.fraud_weights, merchant.fee_basis_points) == ({}, 90)


def test_a_merchants_page_links_to_its_payments_and_keys_for_permitted_users(root, merchant):
    links = (f"/admin/payments/transaction/?merchant__id__exact={merchant.pk}", f"{KEYS}add/?merchant={merchant.pk}")

    for link in links:
        assert f'href="{link}"' in root.get(f"{MERCHANTS}{merchant.pk}/change/").text
        assert link not in sign_in("view_merchant").get(f"{MERCHANTS}{merchant.pk}/change/").text
        assert root.get(link).status_code == 200
