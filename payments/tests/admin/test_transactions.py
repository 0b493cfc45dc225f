"""Payments in the admin: what may be seen, by whom, at what cost; and that nothing can be changed from there."""

import secrets
from datetime import timedelta

import pytest
from django.apps import apps
from django.contrib.auth.models import Group
from django.db import connection
from django.db.models.functions import Now
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils.html import escape

from fintech.adminsite.changelists import KeysetChangeList
from fintech.adminsite.display import MAX_SHOWN
from payments.admin import history
from payments.admin.display import OPERATION_COLOURS, TRANSACTION_COLOURS
from payments.groups import GROUPS, ensure_groups
from payments.models import Event, Merchant, Refund, Transaction, Unresolved
from payments.states import CAPTURE, REFUND, VOID, ChargeStatus
from payments.tests.factories import make_payment, sign_in

pytestmark = pytest.mark.django_db  # rolled back: nothing here calls the gateway

ADMIN = "/admin/payments/"
LIST = f"{ADMIN}transaction/"
MONEY = ["transaction", "refund", "ledgerleg"]


@pytest.fixture
def payment(merchant: Merchant) -> Transaction:
    return make_payment(merchant)


@pytest.fixture
def root() -> Client:
    return sign_in(superuser=True)


def make_refund(payment: Transaction, amount: int = 400, **fields) -> Refund:
    payment.amount_reserved += amount
    payment.save(update_fields=["amount_reserved"])
    refund = Refund.objects.create(
        transaction=payment, idempotency_key=secrets.token_hex(12), amount=amount, status="processing", **fields
    )
    Unresolved.objects.create(
        resource_id=refund.pk, transaction_id=payment.pk, refund_id=refund.pk, lease_until=refund.created_at
    )
    return refund


def page_of(row) -> str:
    return f"{ADMIN}{row._meta.model_name}/{row.pk}/change/"


def shown(page: str) -> list[str]:
    """The ids of the rows in a list."""
    return [part.split('"', 1)[0] for part in page.split('name="_selected_action" value="')[1:]]


# --- Refusals ----------------------------------------------------------------------------------------------


def test_a_stranger_is_asked_to_sign_in(payment):
    for path in (LIST, page_of(payment), f"{LIST}{payment.pk}/refund/", f"{LIST}{payment.pk}/resolve/"):
        assert Client().get(path).headers["Location"].startswith("/admin/login/")


@pytest.mark.parametrize("model", [*MONEY, "merchant", "apikey"])
def test_staff_without_permission_see_nothing(model):
    assert sign_in().get(f"{ADMIN}{model}/").status_code == 403


def test_staff_without_permission_see_no_page(payment):
    leg = payment.legs.first()
    refund = make_refund(payment)

    for row in (payment, leg, refund, payment.merchant):
        assert sign_in().get(page_of(row)).status_code == 403


@pytest.mark.parametrize("path", ["add/", "{pk}/change/", "{pk}/delete/"])
@pytest.mark.parametrize("model", MONEY)
def test_even_a_superuser_cannot_write_money(root, payment, model, path):
    make_refund(payment)
    rows = apps.get_model("payments", model)._default_manager
    row = rows.order_by("-pk").first()
    before = list(rows.filter(pk=row.pk).values())

    forged = {"amount": 1, "status": "failed", "currency": "USD", "account": "fees", "post": "yes"}
    assert root.post(f"{ADMIN}{model}/{path.format(pk=row.pk)}", forged).status_code == 403
    assert list(rows.filter(pk=row.pk).values()) == before


@pytest.mark.parametrize("model", [*MONEY, "merchant", "apikey"])
def test_even_a_superuser_cannot_delete_by_action(root, payment, model):
    forged = {"action": "delete_selected", "_selected_action": payment.pk, "post": "yes"}

    assert root.post(f"{ADMIN}{model}/", forged).status_code == 403


@pytest.mark.parametrize("action", ["refund", "resolve", "delete_selected", "no_such_action"])
def test_a_viewer_cannot_forge_an_action(merchant, action):
    payment = make_payment(merchant, status="unknown")
    client = sign_in("view_transaction")
    forged = {"action": action, "_selected_action": payment.pk, "index": 0}

    assert client.post(LIST, forged).status_code == 403
    assert client.post(f"{LIST}?_popup=1", forged).status_code == 403
    assert not Event.objects.filter(transaction=payment, actor__startswith="admin").exists()


def test_a_viewer_is_offered_no_action(merchant):
    payments = [make_payment(merchant, status=status) for status in ("succeeded", "unknown")]
    client = sign_in("view_transaction")
    pages = client.get(LIST).text + "".join(client.get(page_of(payment)).text for payment in payments)

    assert 'name="action"' not in pages
    assert "Refund…" not in pages
    assert "Resolve now" not in pages


def test_one_permission_does_not_bring_the_other(merchant):
    payment = make_payment(merchant, status="unknown")
    looks_and_refunds = sign_in("view_transaction", "refund_transaction")

    assert looks_and_refunds.post(f"{LIST}{payment.pk}/resolve/").status_code == 403
    assert sign_in("resolve_transaction").post(f"{LIST}{payment.pk}/resolve/").status_code == 403
    assert not Event.objects.filter(kind="resolution_requested", transaction=payment).exists()


@pytest.mark.parametrize("forged", [{"select_across": "1"}, {"_selected_action": "no-key"}])
def test_an_action_applies_only_to_rows_that_were_shown(root, payment, forged):
    body = {"action": "resolve", "index": 0, "_selected_action": payment.pk, **forged}

    assert root.post(LIST, body).status_code == 400


@pytest.mark.parametrize(
    "query", ["customer__icontains=c", "amount=1250", "merchant__name=x", "events__data__isnull=1"]
)
def test_a_field_without_a_filter_cannot_be_filtered(root, query):
    assert root.get(f"{LIST}?{query}").status_code == 400


@pytest.mark.parametrize(
    "query", ["status=paid", "currency=XXX", "merchant__id__exact=x", "before=x", "before=%00", "status=%00"]
)
def test_a_filter_that_makes_no_sense_is_refused(root, query):
    answer = root.get(f"{LIST}?{query}")

    assert (answer.status_code, answer.headers["Location"]) == (302, f"{LIST}?e=1")


@pytest.mark.parametrize(
    "query", [f"merchant__id__exact={10**30}", "q=%00", f"q={'x' * 5000}", "q=%F0%9F%92%B6", "p=9"]
)
def test_odd_words_find_nothing_and_break_nothing(root, query):
    assert root.get(f"{LIST}?{query}").status_code == 200


@pytest.mark.parametrize("key", ["x", "00000000-0000-0000-0000-000000000000", "1'--"])
def test_an_unknown_id_is_not_found(root, key):
    assert root.get(f"{LIST}{key}/change/").headers["Location"] == "/admin/"  # with Django's message
    assert root.post(f"{LIST}{key}/resolve/").status_code == (404 if len(key) == 36 else 302)


# --- Lists -------------------------------------------------------------------------------------------------


def test_the_list_says_what_matters(root, merchant):
    make_payment(merchant, amount=1_234_50, currency="EUR", fraud_score=0.126)
    make_payment(merchant, amount=1_500, currency="JPY", status="declined")
    page = root.get(f"{LIST}?merchant__id__exact={merchant.pk}").text

    assert "1,234.50 EUR" in page
    assert "1,500 JPY" in page
    assert "0.13" in page
    assert "not scored" in page
    assert "bg-green-100" in page  # the badge of what succeeded
    assert merchant.name in page


def test_the_newest_come_first_whatever_order_is_asked_for(root, merchant):
    payments = [make_payment(merchant, amount=amount) for amount in (300, 100, 200)]
    newest_first = [str(payment.pk) for payment in reversed(payments)]

    for query in ("", "&o=4", "&o=-1", "&all=1"):
        assert shown(root.get(f"{LIST}?merchant__id__exact={merchant.pk}{query}").text) == newest_first


def test_pages_go_on_below_a_key_and_end(root, merchant, monkeypatch):
    monkeypatch.setattr("payments.admin.transactions.TransactionAdmin.list_per_page", 2)
    payments = [str(make_payment(merchant).pk) for _ in range(5)][::-1]
    query = f"?merchant__id__exact={merchant.pk}"
    seen = []
    for last in (payments[1], payments[3], None):
        page = root.get(LIST + query).text
        seen += shown(page)
        query = f"?before={last}&amp;merchant__id__exact={merchant.pk}"
        assert (query in page) == (last is not None)
        query = query.replace("amp;", "")

    assert seen == payments


def test_another_filter_starts_at_the_newest_again(root, payment):
    page = root.get(f"{LIST}?before={payment.pk}").text

    assert f'name="before" value="{payment.pk}"' not in page
    assert 'href="?"' in page  # back to the newest


def test_the_list_costs_the_same_on_every_page_and_counts_nothing(root, merchant, django_assert_max_num_queries):
    payments = [make_payment(merchant) for _ in range(60)]
    root.get(LIST)
    for query in ("", f"?before={payments[5].pk}", "?status=succeeded", f"?status=succeeded&before={payments[5].pk}"):
        with django_assert_max_num_queries(3) as queries:
            assert root.get(LIST + query).status_code == 200
        text = " ".join(query["sql"] for query in queries)
        assert "COUNT(" not in text
        assert "OFFSET" not in text


@pytest.mark.parametrize("status", ["declined", "failed", "unknown"])
def test_a_status_is_found_through_the_journal(root, merchant, status):
    payments = {value: make_payment(merchant, status=value) for value in ("succeeded", "declined", "failed", "unknown")}
    page = root.get(f"{LIST}?status={status}&merchant__id__exact={merchant.pk}").text

    assert shown(page) == [str(payments[status].pk)]


def test_a_currency_is_looked_for_in_a_bounded_part_of_the_table(root, merchant, monkeypatch):
    monkeypatch.setattr(KeysetChangeList, "WINDOW", 3)
    rare = make_payment(merchant, currency="ISK")
    others = [make_payment(merchant) for _ in range(3)]
    first = root.get(f"{LIST}?currency=ISK")

    assert shown(first.text) == []
    assert "Searched 3 rows" in first.text
    assert f"?before={others[0].pk}&amp;currency=ISK" in first.text
    assert str(rare.pk) in shown(root.get(f"{LIST}?before={others[0].pk}&currency=ISK").text)


def test_a_transaction_is_found_by_every_exact_name_of_it_and_by_no_other(root, payment):
    refund = make_refund(payment)
    found = [str(payment.pk)]

    assert shown(root.get(f"{LIST}?q={payment.pk}").text) == found
    assert shown(root.get(f"{LIST}?q={payment.idempotency_key}").text) == found
    assert shown(root.get(f"{LIST}?q=+{refund.pk}+").text) == found
    assert shown(root.get(f"{LIST}?q={str(payment.pk)[:-1]}").text) == []
    assert shown(root.get(f"{LIST}?q={payment.idempotency_key[:-1]}").text) == []


def test_refunds_and_legs_are_found_by_their_transaction(root, payment):
    refund = make_refund(payment, reason="Broken <b>cup</b>")
    refunds = root.get(f"{ADMIN}refund/?q={payment.idempotency_key}").text
    legs = root.get(f"{ADMIN}ledgerleg/?q={payment.pk}").text

    assert str(refund.pk) in refunds
    assert "Broken &lt;b&gt;cup" in refunds
    assert "gateway clearing" in legs
    assert "merchant payable" in legs


def test_legs_are_filtered_by_account_and_currency(root, merchant):
    make_payment(merchant, amount=777_00, currency="SEK")
    page = root.get(f"{ADMIN}ledgerleg/?account=merchant_payable&currency=SEK").text

    assert "merchant payable" in page
    assert "gateway clearing" not in page.split('id="result_list"')[1].split("</table>")[0]
    assert root.get(f"{ADMIN}ledgerleg/?account=cash").headers["Location"] == f"{ADMIN}ledgerleg/?e=1"


def test_refund_and_leg_have_pages_to_read(root, payment):
    refund = make_refund(payment)

    assert "4.00 EUR" in root.get(page_of(refund)).text
    assert "12.50 EUR" in root.get(page_of(payment.legs.first())).text


# --- One transaction ---------------------------------------------------------------------------------------


def test_the_page_shows_the_whole_history(root, payment):
    refund = make_refund(payment, reason="One cup was broken")
    page = root.get(page_of(payment)).text

    assert "12.50 EUR" in page
    assert "8.50 EUR" in page  # left to refund
    assert page.index("Waiting for the outcome") < page.index("Journal") < page.index("One cup was broken")
    assert str(refund.pk) in page
    assert "HTTP 200" in page
    assert "&quot;operation&quot;: &quot;charge&quot;" in page
    assert "balanced" in page
    assert "not balanced" not in page


def test_foreign_text_is_shown_and_never_run(root, merchant):
    bad = "<script>alert(1)</script>{{ 7*7 }}"
    payment = make_payment(
        merchant, customer=bad, reference=bad, description=bad, metadata={bad: bad}, payment_method={"type": bad}
    )
    exchange = {"operation": bad, "outcome": bad, "status_code": 200, "answer": {bad: bad}, "milliseconds": bad}
    Event.objects.create(transaction=payment, kind="unknown", actor=bad, data={"gateway": [exchange, bad, None]})
    page = root.get(page_of(payment)).text

    assert "<script>alert" not in page
    assert page.count(escape(bad)) >= 9


@pytest.mark.parametrize("data", [[], "text", 7, {"gateway": "text"}, {"gateway": None}, {"other": [1]}])
def test_an_event_with_unforeseen_data_can_be_looked_at(root, payment, data):
    Event.objects.create(transaction=payment, kind="something_new", actor="api", data=data)

    assert "something new" in root.get(page_of(payment)).text


def test_a_long_answer_of_the_gateway_is_cut(root, payment):
    Event.objects.create(transaction=payment, kind="unknown", actor="api", data={"gateway": ["x" * 100_000]})
    page = root.get(page_of(payment)).text

    assert "more" in page
    assert page.count("x" * 1000) < 100_000 // 1000
    assert "x" * MAX_SHOWN not in page


def test_a_long_history_is_cut_and_the_cost_stays(root, payment, monkeypatch, django_assert_max_num_queries):
    monkeypatch.setattr(history, "MAX_SHOWN", 5)
    for number in range(20):
        Event.objects.create(transaction=payment, kind="resolution_requested", actor=f"admin:{number}")
    root.get(page_of(payment))
    with django_assert_max_num_queries(9):
        page = root.get(page_of(payment)).text

    assert "The newest 5 events" in page
    assert "admin:15" in page
    assert "admin:14" not in page


def test_the_page_names_the_holder_of_the_lease(root, merchant):
    payment = make_payment(merchant, status="unknown")
    assert "The resolver handles it at its next run." in root.get(page_of(payment)).text

    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE payments_unresolved SET lease_token = gen_random_uuid(), lease_until = now() + interval '1 hour'"
            " WHERE resource_id = %s",
            [payment.pk],
        )
    assert "A process is working on it" in root.get(page_of(payment)).text


# --- Resolve now -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("group", ["support", None])
def test_a_permitted_user_starts_the_resolver(merchant, group):
    payment = make_payment(merchant, status="unknown")
    client = sign_in(group=group) if group else sign_in(superuser=True)
    answer = client.post(f"{LIST}{payment.pk}/resolve/", follow=True)

    assert "will handle 1" in answer.text
    event = Event.objects.get(transaction=payment, kind="resolution_requested")
    assert event.actor == f"admin:{answer.wsgi_request.user.username}"


def test_resolve_from_the_list(root, merchant):
    payments = [make_payment(merchant, status="unknown") for _ in range(2)]
    body = {"action": "resolve", "_selected_action": [payment.pk for payment in payments], "index": 0}

    assert "will handle 2" in root.post(LIST, body, follow=True).text


def test_there_is_nothing_to_resolve_in_what_is_settled(root, payment):
    answer = root.post(f"{LIST}{payment.pk}/resolve/", follow=True)

    assert "Nothing to resolve" in answer.text
    assert not Event.objects.filter(transaction=payment, kind="resolution_requested").exists()


def test_resolve_is_never_a_get_and_never_without_a_token(merchant):
    payment = make_payment(merchant, status="unknown")

    assert sign_in(superuser=True).get(f"{LIST}{payment.pk}/resolve/").status_code == 405
    careless = sign_in(superuser=True, enforce_csrf_checks=True)
    assert careless.post(f"{LIST}{payment.pk}/resolve/").status_code == 403
    assert not Event.objects.filter(transaction=payment, kind="resolution_requested").exists()


# --- Groups and the first page -----------------------------------------------------------------------------


@pytest.mark.parametrize("group", GROUPS)
def test_a_group_may_do_its_work_and_no_more(payment, group):
    client = sign_in(group=group)

    for model in (*MONEY, "merchant"):
        assert client.get(f"{ADMIN}{model}/").status_code == 200
    for path in ("apikey/", "apikey/add/", "merchant/add/", f"merchant/{payment.merchant_id}/delete/"):
        assert client.get(ADMIN + path).status_code == 403
    refused = "refund" if group == "support" else "resolve"
    assert client.post(f"{LIST}{payment.pk}/{refused}/").status_code == 403


def test_a_group_keeps_what_an_administrator_made_of_it():
    Group.objects.get(name="support").permissions.clear()
    Group.objects.get(name="finance").delete()
    ensure_groups(using="default")

    assert not Group.objects.get(name="support").permissions.exists()
    assert Group.objects.get(name="finance").permissions.filter(codename="refund_transaction").exists()


def test_the_menu_leads_only_where_one_may_go():
    page = sign_in("view_refund").get("/admin/").text

    assert f'href="{ADMIN}refund/"' in page
    assert LIST not in page


def test_the_first_page_shows_open_payments(root, merchant):
    payment = make_payment(merchant, status="unknown")
    root.get("/admin/")  # reads the content types, which Django keeps
    with CaptureQueriesContext(connection) as queries:
        page = root.get("/admin/").text

    assert str(payment.pk) in page
    assert "without a final outcome" in page
    # The section of the alert trail depends on what other tests have left there.
    assert len([query for query in queries if "alerts_audit_" not in query["sql"]]) <= 10
    assert str(payment.pk) not in sign_in("view_refund").get("/admin/").text


def test_each_state_has_a_colour():
    assert TRANSACTION_COLOURS.keys() == set(ChargeStatus.values)
    for lifecycle in (CAPTURE, VOID, REFUND):
        assert OPERATION_COLOURS.keys() == set(lifecycle.statuses.values)


def test_an_authorized_payment_is_shown_with_its_journal(root, merchant):
    held = {"manual_capture": True, "capture_before": Now() + timedelta(days=7)}
    payment = make_payment(merchant, status="authorized", **held)
    for kind in ("capture_processing", "void_failed"):
        Event.objects.create(transaction=payment, kind=kind, actor="api")

    shown = [root.get(path).content.decode() for path in (LIST, f"{LIST}{payment.pk}/change/", "/admin/")]

    assert all("authorized" in page.lower() for page in shown)
    assert "capture processing" in shown[1]
    assert "void failed" in shown[1]
