"""Fraud lists in the admin, and the record of changes that the database keeps by itself."""

import pytest
from django.contrib.auth import SESSION_KEY
from django.contrib.auth.models import User
from django.db import IntegrityError, ProgrammingError
from django.db.transaction import atomic
from django.test import Client
from django.urls import reverse

from payments.api_keys import ApiKeyCache, create_api_key
from payments.fraud.settings import MAX_ENTRIES, recorded_by
from payments.models import FraudChange, FraudListEntry, Merchant
from payments.tests.factories import sign_in

pytestmark = pytest.mark.django_db

ADD = reverse("admin:payments_fraudlistentry_add")
LIST = reverse("admin:payments_fraudlistentry_changelist")
CHANGES = reverse("admin:payments_fraudchange_changelist")
PERMISSIONS = ("view_fraudlistentry", "add_fraudlistentry", "delete_fraudlistentry", "view_merchant")


def form(merchant: Merchant, **fields: str) -> dict[str, object]:
    return {"merchant": merchant.pk, "list": "block", "field": "customer", "value": "c_1", "note": "", **fields}


def block(merchant: Merchant, value: str = "c_1", **fields: str) -> FraudListEntry:
    return FraudListEntry.objects.create(
        merchant=merchant, value=value, **{"list": "block", "field": "customer", **fields}
    )


def actor_of(client: Client) -> str:
    return f"admin:{User.objects.get(pk=client.session[SESSION_KEY]).username}"


def changes(merchant: Merchant) -> list[tuple[object, ...]]:
    rows = FraudChange.objects.filter(merchant=merchant).order_by("id")
    return list(rows.values_list("actor", "subject", "before", "after"))


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"field": "country", "value": "Germany"}, "Expected str of length"),
        ({"field": "country", "value": "D1"}, "matching regex"),
        ({"field": "token", "value": "4111 1111 1111 1111"}, "Card numbers are not allowed"),
        ({"value": "x" * 256}, "at most 255 characters"),
        ({"value": ""}, "This field is required"),
        ({"value": "a\0b"}, "Null characters are not allowed"),
        ({"field": "colour"}, "Select a valid choice"),
        ({"list": "grey"}, "Select a valid choice"),
    ],
)
def test_an_entry_that_no_payment_could_have_is_refused(merchant, wrong, text):
    page = sign_in(*PERMISSIONS).post(ADD, form(merchant, **wrong)).text

    assert text in page
    assert not FraudListEntry.objects.filter(merchant=merchant).exists()
    assert changes(merchant) == []


@pytest.mark.parametrize("name", ["block", "allow"])
def test_a_value_is_on_one_list_and_once(merchant, name):
    block(merchant)

    assert "on a list of this merchant already" in sign_in(*PERMISSIONS).post(ADD, form(merchant, list=name)).text
    assert FraudListEntry.objects.filter(merchant=merchant).count() == 1


def test_full_lists_are_refused(merchant):
    FraudListEntry.objects.bulk_create(
        FraudListEntry(merchant=merchant, list="block", field="customer", value=str(number))
        for number in range(MAX_ENTRIES)
    )

    assert "1,000 entries" in sign_in(*PERMISSIONS).post(ADD, form(merchant)).text


@pytest.mark.parametrize("permission", ["view_fraudlistentry", "delete_fraudlistentry", "change_fraudlistentry"])
def test_adding_takes_a_permission(merchant, permission):
    assert sign_in(permission).post(ADD, form(merchant)).status_code == 403


@pytest.mark.parametrize("permission", ["view_fraudlistentry", "add_fraudlistentry", "change_fraudlistentry"])
def test_removing_takes_a_permission(merchant, permission):
    entry = block(merchant)
    address = reverse("admin:payments_fraudlistentry_delete", args=[entry.pk])

    assert sign_in(permission).post(address, {"post": "yes"}).status_code == 403
    assert FraudListEntry.objects.filter(pk=entry.pk).exists()


def test_an_entry_cannot_be_changed(merchant):
    entry = block(merchant)
    address = reverse("admin:payments_fraudlistentry_change", args=[entry.pk])

    assert sign_in(superuser=True).post(address, form(merchant, value="c_2")).status_code == 403
    with pytest.raises(IntegrityError, match="UPDATE is refused"), atomic():
        FraudListEntry.objects.filter(pk=entry.pk).update(list="other")


def test_entries_are_recorded_when_they_are_added_and_removed(merchant):
    client = sign_in(*PERMISSIONS)
    client.post(ADD, form(merchant, field="country", value="fr", note="chargebacks"))
    entry = FraudListEntry.objects.get(merchant=merchant)
    client.post(reverse("admin:payments_fraudlistentry_delete", args=[entry.pk]), {"post": "yes"})

    content = {"field": "country", "value": "FR", "note": "chargebacks"}
    actor = actor_of(client)
    assert changes(merchant) == [(actor, "block_list", None, content), (actor, "block_list", content, None)]


def test_entries_removed_from_the_list_are_recorded(merchant):
    client = sign_in(*PERMISSIONS)
    rows = [block(merchant, value, list="allow") for value in ("c_1", "c_2")]

    chosen = {"action": "delete_selected", "_selected_action": [row.pk for row in rows], "post": "yes"}
    client.post(LIST, chosen)

    removed = FraudChange.objects.filter(merchant=merchant, after__isnull=True)
    assert {(row.actor, row.subject, row.before["value"]) for row in removed} == {
        (actor_of(client), "allow_list", value) for value in ("c_1", "c_2")
    }


def test_each_changed_setting_is_recorded_with_both_values(merchant):
    client = sign_in("view_merchant", "change_merchant")
    fields = {"name": merchant.name, "country": "DE", "is_active": "on", "fee_basis_points": "90"}
    fraud = {"fraud_threshold": "0.5", "fraud_weights": '{"high_amount": 1}', "unscored_limit_minor": "5000"}

    client.post(reverse("admin:payments_merchant_change", args=[merchant.pk]), fields | fraud)

    actor = actor_of(client)
    assert sorted(changes(merchant)) == [
        (actor, "fraud_threshold", 0.8, 0.5),
        (actor, "fraud_weights", {}, {"high_amount": 1}),
    ]


def test_a_refused_change_is_not_recorded(merchant):
    with pytest.raises(IntegrityError), recorded_by("admin:eve"):
        Merchant.objects.filter(pk=merchant.pk).update(fraud_threshold=2)

    assert changes(merchant) == []


def test_a_change_outside_of_the_admin_is_recorded_with_the_role(merchant):
    with recorded_by("admin:alice"):
        pass
    Merchant.objects.filter(pk=merchant.pk).update(fraud_threshold=0.1, fee_basis_points=1)

    assert changes(merchant) == [("database:app", "fraud_threshold", 0.8, 0.1)]


@pytest.mark.parametrize("change", [{"actor": "admin:bob"}, {"before": 1}])
def test_the_record_cannot_be_changed(merchant, change):
    block(merchant)

    with pytest.raises(ProgrammingError), atomic():
        FraudChange.objects.filter(merchant=merchant).update(**change)
    with pytest.raises(ProgrammingError), atomic():
        FraudChange.objects.filter(merchant=merchant).delete()


def test_the_record_is_read_only_in_the_admin(merchant):
    block(merchant)
    row = FraudChange.objects.get(merchant=merchant)

    client = sign_in(superuser=True)
    for name in ("change", "delete"):
        address = reverse(f"admin:payments_fraudchange_{name}", args=[row.pk])
        assert client.post(address, {"post": "yes"}).status_code == 403
    assert client.get(reverse("admin:payments_fraudchange_add")).status_code == 403


def test_the_record_of_a_merchant_is_shown(merchant):
    block(merchant, "c_of_this_merchant")
    block(Merchant.objects.create(name=f"Other than {merchant.name}", country="DE"), "c_of_another")

    page = sign_in("view_fraudchange", "view_merchant").get(f"{CHANGES}?merchant__id__exact={merchant.pk}").text

    assert "c_of_this_merchant" in page
    assert "database:app" in page
    assert "c_of_another" not in page


def test_a_merchants_page_links_to_its_lists_and_changes_for_permitted_users(merchant):
    page = reverse("admin:payments_merchant_change", args=[merchant.pk])

    for link in (LIST, CHANGES):
        address = f'href="{link}?merchant__id__exact={merchant.pk}"'
        assert address in sign_in(superuser=True).get(page).text
        assert address not in sign_in("view_merchant").get(page).text


def test_key_merchant_and_lists_are_one_statement(merchant, django_assert_num_queries):
    _, secret = create_api_key(merchant=merchant, name="shop", scopes=[])
    block(merchant, 'c_"1"')
    block(merchant, "FR", list="allow", field="country")

    with django_assert_num_queries(1):
        principal = ApiKeyCache().find(secret[:11])

    assert principal.fraud.blocked == {("customer", 'c_"1"')}
    assert principal.fraud.allowed == {("country", "FR")}
