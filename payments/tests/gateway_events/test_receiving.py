"""`POST /gateway/events` stores what the gateway signed, once and as it came, and refuses everything else."""

import json
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest
from django.db import IntegrityError, connection
from django.db.transaction import atomic
from django.test import Client
from django.utils import timezone

from fintech.database.sql import execute
from fintech.secret_files import webhook_secret
from payments.gateway_events.inbox import process_due, store_event
from payments.gateway_events.kinds import KINDS, Kind
from payments.gateway_events.stripe import identify
from payments.models import GatewayEvent

PATH = "/gateway/events"


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_an_event_without_one_of_the_headers_is_refused(sender, name):
    answer = sender.send(**{name: ""})

    assert (answer.status_code, answer.json()["code"]) == (401, "invalid_signature")
    assert not sender.stored()


@pytest.mark.parametrize(
    "change",
    [
        {"webhook-id": "evt_another"},
        {"webhook-timestamp": "1"},
        {"webhook-timestamp": "soon"},
        {"webhook-timestamp": "9" * 12},
        {"webhook-signature": "v1,"},
        {"webhook-signature": "v1,Zm9yZ2Vk"},
        {"webhook-signature": "v1,\u00e9"},
    ],
)
def test_a_forged_header_is_refused(sender, change):
    answer = sender.send(**change)

    assert (answer.status_code, answer.json()["code"]) == (401, "invalid_signature")
    assert not sender.stored()


def test_a_signature_by_another_secret_is_refused(sender):
    assert sender.send(secret=webhook_secret()).status_code == 401
    assert not sender.stored()


def test_without_a_secret_every_event_is_refused(sender, settings):
    settings.GATEWAY_WEBHOOK_SECRET = ""

    assert sender.send(secret="whsec_").status_code == 401
    assert not sender.stored()


@pytest.mark.parametrize("seconds", [-400, 400])
def test_a_replay_of_an_old_event_and_one_from_the_future_are_refused(sender, later, seconds):
    answer = sender.send(at=later(seconds))

    assert answer.status_code == 401
    assert "clock" in answer.json()["detail"]
    assert not sender.stored()


def test_a_body_that_is_too_large_is_refused(sender):
    assert sender.send(body=b'"' + b"x" * 70_000 + b'"').status_code == 413
    assert not sender.stored()


def test_other_methods_and_content_types_are_refused():
    assert Client().get(PATH).status_code == 405
    assert Client().post(PATH, "a=b", content_type="application/x-www-form-urlencoded").status_code == 415


def test_one_of_several_signatures_suffices(sender):
    answer = sender.send(identifier="evt_rotated", **{"webhook-signature": ""})
    assert answer.status_code == 401
    good = sender.send(identifier="evt_rotated")

    assert good.status_code == 200


DEEP = b"[" * 30_000 + b"]" * 30_000


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b" ",
        b"null",
        b'{"type": 1}',
        b'{"type": "charge.decided"}',
        b"\xff\x00",
        b'{"type": "charge.decided", "data": ' + DEEP + b"}",
    ],
)
def test_an_event_that_cannot_be_read_is_stored_as_it_came_and_marked(sender, body):
    assert sender.send(body=body).status_code == 200

    assert sender.process() == ["unreadable"]
    assert bytes(sender.stored()[0].body) == body


DECISION = {"key": str(uuid4()), "outcome": "approved", "amount": 5, "currency": "EUR", "reference": "gw_1"}
DISPUTE = {
    "dispute": str(uuid4()),
    "sequence": 1,
    "charge": str(uuid4()),
    "charged_at": "2026-01-01T00:00:00Z",
    "state": "opened",
    "amount": 5,
    "currency": "EUR",
    "fee": 0,
    "reason": "fraud",
}


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("charge.decided", DECISION | {"reference": "gw\0"}),
        ("charge.decided", DECISION | {"code": "\0"}),
        ("charge.decided", DECISION | {"outcome": "\0"}),
        ("charge.decided", DECISION | {"authentication": {"outcome": "\0"}}),
        ("dispute.changed", DISPUTE | {"reason": "\0"}),
    ],
)
def test_an_event_with_a_text_that_cannot_be_stored_is_unreadable_and_the_next_one_is_processed(sender, kind, data):
    sender.send(kind, data)
    sender.send()

    process_due()

    assert [event.outcome for event in sender.stored()] == ["unreadable", "unknown_type"]


@pytest.mark.parametrize("identifier", [rb'"\u0000"', DEEP], ids=["NUL", "nested deeply"])
def test_an_event_of_stripe_whose_id_cannot_be_read_is_stored_under_its_hash(identifier):
    assert identify(b'{"id": ' + identifier + b"}").startswith("sha256:")


def test_an_event_whose_statement_takes_too_long_waits_and_the_next_one_is_processed(sender, monkeypatch, caplog):
    def apply(_: object) -> bool:
        with atomic():
            execute("SET LOCAL statement_timeout = 1")
            execute("SELECT pg_sleep(60)")
        return True

    monkeypatch.setitem(KINDS, "test.slow", Kind(dict, apply))
    sender.send("test.slow")
    sender.send()

    process_due()

    slow, following = sender.stored()
    assert (slow.processed_at, slow.detail, slow.attempts) == (None, "OperationalError", 1)
    assert following.outcome == "unknown_type"
    assert "gateway_event_failed" in caplog.messages


def test_an_event_of_an_unknown_type_is_kept_and_marked(sender):
    sender.send("weather.changed", {"sun": True})

    assert sender.process() == ["unknown_type"]
    assert json.loads(bytes(sender.stored()[0].body))["data"] == {"sun": True}


def test_an_event_that_comes_twice_is_stored_once(sender):
    first = sender.send(identifier="evt_twice")
    second = sender.send(identifier="evt_twice")

    assert (first.json()["duplicate"], second.json()["duplicate"]) == (False, True)
    assert len(sender.stored()) == 1


def test_the_first_event_counts_if_another_has_its_id_and_a_different_body(sender, caplog):
    sender.send(identifier="evt_changed", body=b'{"first": 1}')
    second = sender.send(identifier="evt_changed", body=b'{"second": 2}')

    assert second.json()["duplicate"]
    assert [bytes(event.body) for event in sender.stored()] == [b'{"first": 1}']
    assert "gateway_event_differs" in caplog.messages


def test_an_event_that_the_database_refuses_for_another_reason_is_no_repetition():
    with pytest.raises(IntegrityError):
        store_event(gateway=None, identifier="evt_without_gateway", sent_at=timezone.now(), body=b"{}")


def test_one_of_many_equal_events_is_stored(sender):
    def send(_: int) -> bool:
        try:
            return sender.send(identifier="evt_many").json()["duplicate"]
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(send, range(8)))

    assert sorted(answers) == [False] + 7 * [True]


def test_the_worker_finds_what_is_due(sender):
    sender.send()

    process_due()

    assert sender.stored()[0].outcome == "unknown_type"


@pytest.mark.parametrize("change", [{"body": b"other"}, {"identifier": "evt_other"}, {"gateway": "other"}])
def test_the_database_refuses_to_change_what_came(sender, change):
    sender.send()

    with pytest.raises(IntegrityError), atomic():
        GatewayEvent.objects.filter(identifier__in=sender.ids).update(**change)


def test_the_database_refuses_to_change_an_outcome(sender):
    sender.send()
    sender.process()

    with pytest.raises(IntegrityError), atomic():
        GatewayEvent.objects.filter(identifier__in=sender.ids).update(outcome="applied")
