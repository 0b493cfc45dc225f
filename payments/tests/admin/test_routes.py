"""Gateway routes in the admin: checked, obeyed within seconds, and recorded with who and when."""

from typing import Any

import pytest
from django.contrib.auth import SESSION_KEY
from django.contrib.auth.models import User
from django.db import IntegrityError
from django.db.transaction import atomic
from django.test import Client
from django.urls import reverse

from payments.gateway.registry import gateways
from payments.models import GatewayRoute, GatewayRouteChange, Merchant
from payments.tests.factories import sign_in

pytestmark = pytest.mark.django_db

ADD = reverse("admin:payments_gatewayroute_add")
LIST = reverse("admin:payments_gatewayroute_changelist")
PERMISSIONS = ("view_gatewayroute", "add_gatewayroute", "change_gatewayroute", "delete_gatewayroute", "view_merchant")


@pytest.fixture(autouse=True)
def _two_gateways(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(gateways._factories, "stripe", lambda: None)


def form(merchant: Merchant | None = None, /, **fields: object) -> dict[str, object]:
    usual = {"merchant": merchant.pk if merchant else "", "currency": "EUR", "gateway": "stripe", "fallback": ""}
    return {**usual, "note": "", **fields}


def actor_of(client: Client) -> str:
    return f"admin:{User.objects.get(pk=client.session[SESSION_KEY]).username}"


def changes() -> list[GatewayRouteChange]:
    return list(GatewayRouteChange.objects.order_by("id"))


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"gateway": "paypal"}, "Select a valid choice"),
        ({"gateway": ""}, "This field is required"),
        ({"fallback": "paypal"}, "Select a valid choice"),
        ({"fallback": "stripe"}, "The second gateway must be another one"),
        ({"currency": "XXQ"}, "XXQ is not an ISO 4217 currency"),
        ({"currency": "EURO"}, "at most 3 characters"),
        ({"merchant": 987_654_321}, "Select a valid choice"),
        ({"note": "x" * 256}, "at most 255 characters"),
    ],
)
def test_a_route_that_cannot_work_is_refused(merchant, wrong, text):
    page = sign_in(*PERMISSIONS).post(ADD, form(merchant, **wrong)).text

    assert text in page
    assert (GatewayRoute.objects.count(), changes()) == (0, [])


@pytest.mark.parametrize("currency", ["EUR", ""])
@pytest.mark.parametrize("of_merchant", [True, False])
def test_a_merchant_and_currency_have_one_route(merchant, of_merchant, currency):
    client, content = sign_in(*PERMISSIONS), form(merchant if of_merchant else None, currency=currency)
    client.post(ADD, content)

    assert "There is a route for this merchant and currency" in client.post(ADD, content).text
    assert GatewayRoute.objects.count() == 1


def test_a_route_is_recorded_when_it_is_added_changed_and_removed(merchant):
    client = sign_in(*PERMISSIONS)
    client.post(ADD, form(merchant, currency="eur", note="cheaper"))
    row = GatewayRoute.objects.get()
    changed = form(merchant, currency="", fallback="simulator")
    client.post(reverse("admin:payments_gatewayroute_change", args=[row.pk]), changed)
    client.post(reverse("admin:payments_gatewayroute_delete", args=[row.pk]), {"post": "yes"})

    first = {"merchant_id": merchant.pk, "currency": "EUR", "gateway": "stripe", "fallback": None, "note": "cheaper"}
    second = first | {"currency": None, "fallback": "simulator", "note": ""}
    assert [(one.before, one.after) for one in changes()] == [(None, first), (first, second), (second, None)]
    assert {(one.actor, one.route_id) for one in changes()} == {(actor_of(client), row.pk)}
    assert not GatewayRoute.objects.exists()


def test_a_change_outside_of_the_admin_is_recorded_with_its_role(merchant):
    GatewayRoute.objects.create(merchant=merchant, gateway="stripe")

    assert [one.actor for one in changes()] == ["database:app"]


@pytest.mark.parametrize("missing", ["add", "change", "delete"])
def test_each_step_takes_its_permission(merchant, missing):
    row = GatewayRoute.objects.create(merchant=merchant, currency="USD", gateway="stripe")
    client = sign_in(*(name for name in PERMISSIONS if not name.startswith(missing)))
    address = ADD if missing == "add" else reverse(f"admin:payments_gatewayroute_{missing}", args=[row.pk])

    assert client.post(address, form(merchant) | {"post": "yes"}).status_code == 403
    assert len(changes()) == 1


@pytest.mark.parametrize(
    "fields",
    [
        {"gateway": ""},
        {"gateway": "stripe", "fallback": "stripe"},
        {"gateway": "stripe", "fallback": ""},
        {"gateway": "stripe", "currency": "eur"},
    ],
)
def test_the_database_refuses_a_route_that_cannot_work(merchant, fields):
    with pytest.raises(IntegrityError), atomic():
        GatewayRoute.objects.create(merchant=merchant, **fields)


def test_the_record_of_changes_cannot_be_changed(merchant):
    GatewayRoute.objects.create(merchant=merchant, gateway="stripe")
    client = sign_in("view_gatewayroutechange", "change_gatewayroutechange", "delete_gatewayroutechange")
    (row,) = changes()

    for step in ("change", "delete"):
        address = reverse(f"admin:payments_gatewayroutechange_{step}", args=[row.pk])
        assert client.post(address, {"post": "yes", "actor": "someone"}).status_code == 403
    assert client.get(reverse("admin:payments_gatewayroutechange_add")).status_code == 403
    assert [one.actor for one in changes()] == ["database:app"]


@pytest.mark.parametrize("permission", [[], ["view_gatewayroute"]])
def test_the_merchants_page_leads_to_its_routes(merchant, permission):
    address = reverse("admin:payments_merchant_change", args=[merchant.pk])

    page = sign_in("view_merchant", *permission).get(address).text

    assert (f"{LIST}?merchant__id__exact={merchant.pk}" in page) == bool(permission)


def test_the_lists_show_routes_and_their_history(merchant, monkeypatch):
    GatewayRoute.objects.create(merchant=merchant, currency="USD", gateway="stripe", fallback="simulator")
    GatewayRoute.objects.create(gateway="paypal", note="tried in spring")
    client: Any = sign_in("view_gatewayroute", "view_gatewayroutechange", "view_merchant")

    page = client.get(LIST).text

    for text in (merchant.name, "USD", "all others", "paypal is not configured", "tried in spring"):
        assert text in page
    history = client.get(reverse("admin:payments_gatewayroutechange_changelist")).text
    assert "database:app" in history
    assert "paypal" in history
