"""Rows of a list that are drawn by hand look as Unfold draws them."""

from datetime import timedelta

import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.db.models import Model
from django.test import RequestFactory
from django.test.html import parse_html
from django.urls import resolve, reverse
from unfold.templatetags.unfold_list import items_for_result

from alerts_audit.admin import episodes
from alerts_audit.models import Episode, View
from alerts_audit.tests.factories import make_episode, make_identity
from fintech.adminsite.changelists import KeysetChangeList
from payments.models import LedgerLeg, Merchant, Refund, Transaction
from payments.tests.factories import make_payment

pytestmark = pytest.mark.django_db

BAD = "</td><script>alert(1)</script>&{}"


def list_of(model: type[Model], query: str = "") -> KeysetChangeList:
    address = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
    request = RequestFactory().get(f"{address}?{query}")
    request.resolver_match = resolve(address)
    request.user = User(username="root", is_staff=True, is_superuser=True)
    changes = admin.site.get_model_admin(model).get_changelist_instance(request)
    assert isinstance(changes, KeysetChangeList)
    return changes


@pytest.fixture
def merchant() -> Merchant:
    return Merchant.objects.create(name="Shop", country="DE")


def drawn_cells(changes: KeysetChangeList) -> list:
    """Return the cells of each row, without their markup."""
    rows = (row.split("<tr", 1)[1].split(">", 1)[1].removesuffix("</tr></tbody>") for row in changes.rows())
    return [parse_html(row) for row in rows]


def unfolds_cells(changes: KeysetChangeList) -> list:
    return [parse_html("".join(items_for_result(changes, row, None))) for row in changes.result_list]


@pytest.mark.parametrize("query", ["", "state=firing&alertname=A", "q=instance%3D%22a%22"])
def test_rows_with_a_box_to_choose_them_look_alike(query, monkeypatch):
    monkeypatch.setattr(episodes, "duration", lambda episode: timedelta(hours=1))  # of an open one it grows
    for state in ("firing", "resolved"):
        make_episode(make_identity("A", severity="critical", instance="a"), state=state, summary=BAD)
    changes = list_of(Episode, query)

    assert "action_checkbox" in changes.list_display
    assert len(changes.result_list) > 0
    assert drawn_cells(changes) == unfolds_cells(changes)


@pytest.mark.parametrize("model", [Transaction, LedgerLeg])
def test_rows_of_fields_and_of_what_they_point_to_look_alike(merchant: Merchant, model):
    for currency in ("EUR", "JPY"):
        make_payment(merchant, currency=currency, amount=1234567)
    changes = list_of(model, "currency=EUR")

    assert len(changes.result_list) > 0
    assert drawn_cells(changes) == unfolds_cells(changes)


def test_rows_that_lack_something_look_alike(merchant: Merchant):
    payment = make_payment(merchant)
    Refund.objects.create(transaction=payment, idempotency_key="k", amount=1, status="processing", reason="")
    View.objects.create(user=BAD, user_id=1, what="", key="")

    for model in (Refund, View):
        assert drawn_cells(list_of(model)) == unfolds_cells(list_of(model))


def test_a_row_runs_nothing():
    make_episode(make_identity(BAD), summary=BAD)
    row = next(list_of(Episode).rows())

    assert "<script" not in row
    assert "&lt;script&gt;" in row


def test_the_link_of_a_row_leads_back_to_its_list():
    make_episode(state="firing")
    row = next(list_of(Episode, "state=firing").rows())

    assert "/change/?_changelist_filters=state%3Dfiring" in row
