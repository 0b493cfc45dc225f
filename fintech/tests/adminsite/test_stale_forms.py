"""Forms of the admin that were opened before another administrator's change: saving one undoes nothing."""

import re
import secrets
from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.db.models import Model
from django.test import Client
from django.urls import reverse

from payments.models import GatewayRoute

pytestmark = pytest.mark.django_db

CONFLICT = "another change came first"


def address_of(row: Model) -> str:
    return reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_change", args=[row.pk])


def open_form(client: Client, row: Model) -> dict[str, Any]:
    """Return what a browser sends if the page of the row is saved unchanged."""
    page = client.get(address_of(row))
    (shown,) = re.findall(r'<input type="hidden" name="shown_values" value="([^"]+)"', page.text)
    values = {field.html_name: field.value() for field in page.context["adminform"].form}
    sent = {name: "" if value is None else value for name, value in values.items() if value is not False}
    return {**sent, "shown_values": shown}


def save(client: Client, row: Model, form: dict[str, Any]) -> str:
    """Save the form, and return the page that follows."""
    text = client.post(address_of(row), form, follow=True).text
    row.refresh_from_db()
    return text


def test_an_old_form_does_not_activate_a_merchant_again(client, merchant):
    old = open_form(client, merchant)
    merchant.is_active = False
    merchant.save()

    page = save(client, merchant, {**old, "country": "AT"})

    assert CONFLICT in page
    assert (merchant.is_active, merchant.country) == (False, "DE")


def test_an_old_form_does_not_give_permissions_back(client):
    user = User.objects.create(username=secrets.token_hex(12), is_staff=True, is_superuser=True)
    user.groups.set([Group.objects.create(name=secrets.token_hex(12)) for _ in range(2)])
    old = open_form(client, user)
    user.groups.clear()

    page = save(client, user, {**old, "email": "user@shop.example"})

    assert CONFLICT in page
    assert (user.groups.count(), user.email) == (0, "")


def test_a_login_does_not_make_a_form_old(client):
    user = User.objects.create(username=secrets.token_hex(12))
    form = open_form(client, user)
    Client().force_login(user)

    page = save(client, user, {**form, "email": "user@shop.example"})

    assert CONFLICT not in page
    assert user.email == "user@shop.example"
    assert user.last_login is not None


def test_an_old_form_does_not_change_a_route_back(client, merchant):
    route = GatewayRoute.objects.create(merchant=merchant, currency="EUR", gateway="simulator")
    old = open_form(client, route)
    route.currency = "USD"
    route.save()

    page = save(client, route, {**old, "note": "of the spring"})

    assert CONFLICT in page
    assert (route.currency, route.note) == ("USD", "")


def test_a_form_of_the_present_values_is_saved(client, merchant):
    form = open_form(client, merchant)

    assert CONFLICT not in save(client, merchant, {**form, "country": "AT"})
    assert merchant.country == "AT"


def test_a_corrected_form_is_saved(client, merchant):
    form = open_form(client, merchant)
    page = client.post(address_of(merchant), {**form, "country": "AT", "fee_basis_points": "x"})

    (shown,) = re.findall(r'name="shown_values" value="([^"]+)"', page.text)
    assert shown == form["shown_values"]
    assert CONFLICT not in save(client, merchant, {**form, "country": "AT"})
    assert merchant.country == "AT"


def test_a_request_without_the_digest_is_saved(client, merchant):
    """A script sends the fields that it wants to write, without having opened the page."""
    form = open_form(client, merchant)
    del form["shown_values"]
    merchant.is_active = False
    merchant.save()

    assert CONFLICT not in save(client, merchant, {**form, "country": "AT"})
    assert merchant.country == "AT"


def test_a_row_that_cannot_be_changed_has_no_digest(merchant):
    user = User.objects.create(username=secrets.token_hex(12), is_staff=True)
    client = Client()
    client.force_login(user)
    user.user_permissions.set(Permission.objects.filter(codename="view_merchant"))

    assert "shown_values" not in client.get(address_of(merchant)).text
    assert client.post(address_of(merchant), {"shown_values": "x"}).status_code == 403
