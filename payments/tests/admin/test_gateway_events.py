"""The admin shows events from the gateway as they came, with the reason why one waits."""

import secrets

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from fintech.adminsite.changelists import KeysetChangeList
from payments.models import GatewayEvent
from payments.tests.factories import sign_in

pytestmark = pytest.mark.django_db

LIST = reverse("admin:payments_gatewayevent_changelist")
REASON = "the disputed payment is not known"


def make_event(**fields: object) -> GatewayEvent:
    values = {"identifier": secrets.token_hex(12), "body": b'{"type": "<script>"}', "detail": REASON, **fields}
    return GatewayEvent.objects.create(gateway="simulator", sent_at=timezone.now(), **values)


def page_of(event: GatewayEvent) -> str:
    return reverse("admin:payments_gatewayevent_change", args=[event.pk])


def test_without_the_permission_there_is_no_list():
    assert sign_in("view_dispute").get(LIST).status_code == 403
    assert Client().get(LIST).status_code == 302


def test_an_event_cannot_be_changed():
    event = make_event()

    assert sign_in("view_gatewayevent").post(page_of(event), {"detail": "else"}).status_code == 403


def test_the_list_of_waiting_events_says_why_each_waits():
    event = make_event()
    done = make_event(outcome="ignored", processed_at=timezone.now())

    page = sign_in("view_gatewayevent").get(LIST, {"outcome": "waiting"}).text

    assert REASON in page
    assert page_of(event) in page
    assert page_of(done) not in page


def test_a_page_by_outcome_reads_a_window_of_the_events(monkeypatch):
    monkeypatch.setattr(KeysetChangeList, "WINDOW", 2)
    make_event()  # the second window has no event of other tests
    refused = make_event(outcome="refused", processed_at=timezone.now())
    make_event(), make_event()
    client = sign_in("view_gatewayevent")

    first = client.get(LIST, {"outcome": "refused"}).context["cl"]
    second = client.get(LIST + first.older_link).context["cl"]

    assert (first.result_list, second.result_list) == ([], [refused])


def test_the_waiting_events_are_read_through_their_index():
    with CaptureQueriesContext(connection) as queries:
        sign_in("view_gatewayevent").get(LIST, {"outcome": "waiting"})

    assert any('"processed_at" IS NULL' in query["sql"] for query in queries)


def test_the_first_page_of_waiting_events_has_the_oldest(monkeypatch):
    monkeypatch.setattr(KeysetChangeList, "WINDOW", 2)
    event = make_event()
    for _ in range(3):
        make_event(outcome="applied", processed_at=timezone.now())

    assert event in sign_in("view_gatewayevent").get(LIST, {"outcome": "waiting"}).context["cl"].result_list


def test_the_page_shows_the_body_without_its_markup():
    page = sign_in("view_gatewayevent").get(page_of(make_event())).text

    assert "{\n  &quot;type&quot;: &quot;&lt;script&gt;&quot;\n}" in page


def test_a_body_that_is_no_json_is_shown_as_it_came():
    page = sign_in("view_gatewayevent").get(page_of(make_event(body=b"<b>\xff"))).text

    assert "&lt;b&gt;\ufffd" in page


def test_an_event_is_found_by_its_identifier_only():
    wanted, other = make_event(), make_event()
    client = sign_in("view_gatewayevent")

    page = client.get(LIST, {"q": wanted.identifier}).text

    assert page_of(wanted) in page
    assert page_of(other) not in page
    assert "No entry matches" in client.get(LIST, {"q": wanted.identifier[:-1]}).text
