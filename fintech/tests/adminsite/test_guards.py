"""Requests that no page of the admin sends: each is refused, and none fails or changes anything."""

from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.db import IntegrityError
from django.db.models.signals import pre_save

from payments.models import FraudListEntry, Merchant

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("forged", "status"),
    [
        ({"action": "delete_selected", "_selected_action": "abc", "post": "yes"}, 400),
        ({"action": "delete_selected", "_selected_action": "1", "select_across": "1", "post": "yes"}, 400),
        ({"action": "no_action", "_selected_action": "1"}, 403),
    ],
)
@pytest.mark.parametrize("model", ["user", "group"])
def test_a_forged_action_is_refused_for_people_too(client, model, forged, status):
    before = User.objects.count(), Group.objects.count()

    assert client.post(f"/admin/auth/{model}/", forged).status_code == status
    assert (User.objects.count(), Group.objects.count()) == before


@pytest.mark.parametrize(
    "address",
    [
        "auth/user/?username=%00",
        "auth/user/?username__regex=(",
        "auth/user/?last_login__year=99999",
        "auth/group/?name=%00",
        "payments/merchant/?name=%00",
        "payments/apikey/?scopes=x",
        "payments/fraudlistentry/?value__regex=[",
        "alerts_audit/source/?cluster=%00",
    ],
)
def test_a_lookup_that_no_filter_offers_is_refused(client, address):
    assert client.get(f"/admin/{address}").status_code == 400


@pytest.mark.parametrize(
    "query", ["is_staff__exact=1", "is_superuser__exact=0", "is_active__exact=1", "groups__id__exact=1", "q=x%00y"]
)
def test_the_filters_of_people_work(client, query):
    page = client.get(f"/admin/auth/user/?{query}")

    assert page.status_code == 200


@pytest.mark.parametrize(
    ("app", "model", "field"),
    [("payments", "apikey", "merchant"), ("alerts_audit", "accesstoken", "user"), ("auth", "user", "groups")],
)
def test_the_choices_of_a_field_are_searched_with_any_text(client, app, model, field):
    query = {"app_label": app, "model_name": model, "field_name": field, "term": "x\0y"}

    assert client.get("/admin/autocomplete/", query).json()["results"] == []


@pytest.mark.parametrize("term", ["", "x", "\0"])
@pytest.mark.parametrize(
    ("app", "model", "field"),
    [("payments", "ledgerleg", "transaction"), ("alerts_audit", "transition", "episode")],
)
def test_rows_of_a_large_table_are_no_choices(client, app, model, field, term):
    """A search without text counted the whole table, and one for NUL was a 500."""
    query = {"app_label": app, "model_name": model, "field_name": field, "term": term}

    assert client.get("/admin/autocomplete/", query).status_code == 403


@pytest.mark.parametrize("query", ["s=a", "s=a&page=999", "s=a&page=x"])
def test_the_search_of_the_theme_is_not_offered(client, query):
    assert client.get(f"/admin/search/?{query}").status_code == 404


def test_a_save_that_another_one_overtakes_is_a_message(client, merchant: Merchant):
    fields = {"merchant": merchant, "list": "block", "field": "customer", "value": "c_1"}

    def overtake(**_: Any) -> None:
        FraudListEntry.objects.bulk_create([FraudListEntry(**fields)])  # sends no signal

    pre_save.connect(overtake, sender=FraudListEntry)
    try:
        form = {**fields, "merchant": merchant.pk, "note": ""}
        page = client.post("/admin/payments/fraudlistentry/add/", form, follow=True)
    finally:
        pre_save.disconnect(overtake, sender=FraudListEntry)

    assert "another change came first" in page.text
    assert not FraudListEntry.objects.filter(merchant=merchant).exists()


def test_a_row_that_the_database_never_allows_is_no_conflict(client, merchant: Merchant, monkeypatch):
    monkeypatch.setattr(FraudListEntry, "validate_constraints", lambda *_, **__: None)

    def spoil(instance: FraudListEntry, **_: Any) -> None:
        instance.list = "other"

    pre_save.connect(spoil, sender=FraudListEntry)
    try:
        form = {"merchant": merchant.pk, "list": "block", "field": "customer", "value": "c_1", "note": ""}
        with pytest.raises(IntegrityError, match="check constraint"):
            client.post("/admin/payments/fraudlistentry/add/", form)
    finally:
        pre_save.disconnect(spoil, sender=FraudListEntry)
