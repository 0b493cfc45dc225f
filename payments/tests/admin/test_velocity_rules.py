"""Velocity rules in the admin: checked, changed in part, and recorded with who and when."""

from typing import Any

import pytest
from django.contrib.auth import SESSION_KEY
from django.contrib.auth.models import User
from django.db import IntegrityError
from django.db.transaction import atomic
from django.test import Client
from django.urls import reverse

from payments.fraud.settings import MAX_RULES
from payments.models import FraudChange, Merchant, VelocityRule
from payments.tests.factories import sign_in

pytestmark = pytest.mark.django_db

ADD = reverse("admin:payments_velocityrule_add")
PERMISSIONS = ("view_velocityrule", "add_velocityrule", "change_velocityrule", "delete_velocityrule", "view_merchant")


def form(merchant: Merchant, **fields: object) -> dict[str, object]:
    usual = {"field": "customer", "measure": "count", "currency": "", "window_seconds": 3600, "maximum": 5}
    return {"merchant": merchant.pk, **usual, "outcome": "review", "is_enabled": "on", "note": "", **fields}


def rule(merchant: Merchant, **fields: Any) -> VelocityRule:
    usual = {"field": "customer", "measure": "count", "window_seconds": 3600, "maximum": 5, "outcome": "review"}
    return VelocityRule.objects.create(merchant=merchant, **(usual | fields))


def actor_of(client: Client) -> str:
    return f"admin:{User.objects.get(pk=client.session[SESSION_KEY]).username}"


def changes(merchant: Merchant) -> list[FraudChange]:
    return list(FraudChange.objects.filter(merchant=merchant).order_by("id"))


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"field": "colour"}, "Select a valid choice"),
        ({"measure": "mean"}, "Select a valid choice"),
        ({"outcome": "accept"}, "Select a valid choice"),
        ({"window_seconds": 59}, "A window is from 60 to 2592000 seconds"),
        ({"window_seconds": 2_592_001}, "A window is from 60 to 2592000 seconds"),
        ({"window_seconds": ""}, "This field is required"),
        ({"maximum": -1}, "velocity_rule_maximum_not_negative"),
        ({"maximum": "many"}, "Enter a whole number"),
        ({"currency": "EUR"}, "A sum needs a currency, and a number of payments has none"),
        ({"measure": "sum"}, "A sum needs a currency, and a number of payments has none"),
        ({"measure": "sum", "currency": "XXQ"}, "XXQ is not an ISO 4217 currency"),
        ({"note": "x" * 256}, "at most 255 characters"),
    ],
)
def test_a_rule_that_cannot_work_is_refused(merchant, wrong, text):
    page = sign_in(*PERMISSIONS).post(ADD, form(merchant, **wrong)).text

    assert text in page
    assert not VelocityRule.objects.filter(merchant=merchant).exists()
    assert changes(merchant) == []


def test_the_same_rule_exists_once(merchant):
    rule(merchant)

    assert "has this rule already" in sign_in(*PERMISSIONS).post(ADD, form(merchant, maximum=9)).text
    assert VelocityRule.objects.filter(merchant=merchant).count() == 1


def test_there_are_only_so_many_rules(merchant):
    for number in range(MAX_RULES):
        rule(merchant, window_seconds=60 + number)

    assert f"has {MAX_RULES} velocity rules" in sign_in(*PERMISSIONS).post(ADD, form(merchant)).text


@pytest.mark.parametrize("missing", ["add", "change", "delete"])
def test_each_step_takes_its_permission(merchant, missing):
    row = rule(merchant)
    client = sign_in(*(name for name in PERMISSIONS if not name.startswith(missing)))
    address = ADD if missing == "add" else reverse(f"admin:payments_velocityrule_{missing}", args=[row.pk])

    assert client.post(address, form(merchant) | {"post": "yes"}).status_code == 403
    assert len(changes(merchant)) == 1


def test_a_rule_is_recorded_when_it_is_added_changed_and_removed(merchant):
    client = sign_in(*PERMISSIONS)
    client.post(ADD, form(merchant, measure="sum", currency="eur", note="card testing"))
    row = VelocityRule.objects.get(merchant=merchant)
    address = reverse("admin:payments_velocityrule_change", args=[row.pk])
    client.post(address, {"maximum": 9, "outcome": "block", "note": "card testing"})
    client.post(reverse("admin:payments_velocityrule_delete", args=[row.pk]), {"post": "yes"})

    added, changed, removed = changes(merchant)
    assert {(change.actor, change.subject) for change in changes(merchant)} == {(actor_of(client), "velocity_rule")}
    content = {
        "id": row.pk,
        "field": "customer",
        "measure": "sum",
        "currency": "EUR",
        "window_seconds": 3600,
        "maximum": 5,
        "outcome": "review",
        "is_enabled": True,
        "note": "card testing",
    }
    after = content | {"maximum": 9, "outcome": "block", "is_enabled": False}
    assert [(one.before, one.after) for one in (added, changed, removed)] == [
        (None, content),
        (content, after),
        (after, None),
    ]


@pytest.mark.parametrize("change", [{"field": "token"}, {"window_seconds": 60}, {"measure": "sum", "currency": "EUR"}])
def test_the_field_window_and_measure_of_a_rule_never_change(merchant, change):
    row = rule(merchant)
    address = reverse("admin:payments_velocityrule_change", args=[row.pk])
    sign_in(*PERMISSIONS).post(address, form(merchant, **change))

    assert VelocityRule.objects.filter(pk=row.pk, field="customer", measure="count", window_seconds=3600).exists()
    with pytest.raises(IntegrityError, match="cannot change"), atomic():
        VelocityRule.objects.filter(pk=row.pk).update(**change)


def test_the_list_shows_the_rules_of_a_merchant(merchant):
    rule(merchant, window_seconds=86_400)
    page = sign_in("view_velocityrule").get(reverse("admin:payments_velocityrule_changelist")).text

    assert "1 day, 0:00:00" in page
    assert "Hold for a review" in page
