"""`POST /alert` as Alertmanager and as a stranger see it."""

import gzip
import hashlib
import io
import json
import logging
import secrets
import threading
from typing import Any

import psycopg
import pytest
from django.conf import settings as django_settings
from django.test import Client
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from alerts_audit.models import Delivery, Gap
from alerts_audit.tests.payloads import READABLE, UNREADABLE, alertmanager_body
from alerts_audit.webhook.recorder import recorder
from alerts_audit.webhook.request_body import LIMIT
from fintech.telemetry.logging import JsonFormatter
from fintech.testing.processes import wait_until


def post(body: bytes, *, authorization: str | None = None, content_type="application/json", **environ):
    """`environ` are WSGI variables, such as HTTP_X_REQUEST_ID."""
    environ["HTTP_AUTHORIZATION"] = f"Bearer {django_settings.ALERT_TOKEN}" if authorization is None else authorization
    return Client().post("/alert", body, content_type=content_type, **environ)


def outcomes(outcome: str, source: str = "alertmanager") -> float:
    return REGISTRY.get_sample_value("alert_deliveries_total", {"source": source, "outcome": outcome}) or 0


def alerts(status: str) -> float:
    return REGISTRY.get_sample_value("alerts_received_total", {"status": status}) or 0


def lines(caplog, event: str) -> list[dict[str, Any]]:
    """The fields of the webhook's log lines with this event; the projector, in its thread, writes others."""
    ours = (line.__dict__ for line in caplog.records if line.name == "alerts_audit" and line.getMessage() == event)
    return [line for line in ours if line.get("kind") != "transition"]


def line_about(caplog, event: str, delivery_id: int) -> dict[str, Any]:
    """The one line with this event about a delivery, which is written after the answer."""
    found = wait_until(lambda: [line for line in lines(caplog, event) if line.get("delivery_id") == delivery_id])
    assert len(found) == 1
    return found[0]


KEYS = ["alerts", "labels", "annotations", "status", "startsAt", "endsAt", "receiver", "groupKey", "version"]
STRANGERS = [
    "",
    "Bearer",
    "Bearer ",
    "Bearer wrong",
    "Basic {token}",
    "{token}",
    "Bearer {token}x",
    "Bearer tök",
]


@pytest.mark.parametrize("authorization", STRANGERS)
def test_a_stranger_gets_401_and_nothing_is_stored(authorization):
    before, counted = Delivery.objects.count(), outcomes("unauthorized", "")
    response = post(b"{}", authorization=authorization.format(token=django_settings.ALERT_TOKEN))

    assert response.status_code == 401
    assert response["Content-Type"] == "application/problem+json"
    assert response["WWW-Authenticate"] == "Bearer"
    assert response.json()["code"] == "alert_unauthorized"
    assert django_settings.ALERT_TOKEN not in response.text
    assert Delivery.objects.count() == before
    assert outcomes("unauthorized", "") == counted + 1


def test_a_refused_sender_is_logged_without_the_token(caplog):
    post(b"{}", authorization="Bearer src_abcd1234_" + "s" * 43)
    post(b"{}", authorization="Bearer something-else")

    ours, other = lines(caplog, "alert_unauthorized")
    assert (ours["token"], other["token"]) == ("src_abcd1234", None)
    assert ours["client"] == "127.0.0.1"
    assert "ssss" not in caplog.text
    assert "something-else" not in caplog.text


@pytest.mark.parametrize("method", ["get", "put", "patch", "delete", "head", "options"])
def test_any_method_but_post_is_405(method):
    response = getattr(Client(), method)("/alert")

    assert response.status_code == 405
    assert response["Allow"] == "POST"


@pytest.mark.parametrize("path", ["/alert/", "/Alert", "/alert/x"])
def test_no_spelling_of_the_path_is_redirected(path):
    response = Client().post(path, b"{}", content_type="application/json")

    assert response.status_code == 404


def test_the_beginning_of_a_body_above_16_mib_is_kept_with_the_hash_of_the_whole(caplog):
    caplog.set_level(logging.INFO, "alerts_audit")
    body, counted = alertmanager_body("x" * LIMIT), outcomes("partial")
    response = post(body)

    delivery = Delivery.objects.get(pk=response.json()["id"])
    assert (response.status_code, response.json()["complete"]) == (200, False)
    assert response.json()["sha256"] == bytes(delivery.sha256).hex() == hashlib.sha256(body).hexdigest()
    assert bytes(delivery.body) == body[:LIMIT]
    assert bytes(delivery.kept_sha256) == hashlib.sha256(body[:LIMIT]).digest()
    assert delivery.size == len(body)
    assert outcomes("partial") == counted + 1
    line = line_about(caplog, "alert_received", delivery.pk)
    assert (line["complete"], line["size"], line["readable"]) == (False, len(body), False)


def test_a_truncated_body_is_a_gap():
    delivery = post(bytes(LIMIT + 1)).json()["id"]

    gap = wait_until(lambda: Gap.objects.filter(delivery_id=delivery).first(), what="the projection opens a gap")
    assert (gap.reason, gap.source) == (Gap.Reason.TRUNCATED, "alertmanager")
    assert gap.since == Delivery.objects.get(pk=delivery).received_at


def test_half_a_body_is_answered_with_503_so_that_it_is_sent_again():
    before = Delivery.objects.count()
    response = post(b"half", CONTENT_LENGTH="8")

    assert response.status_code == 503
    assert response.json()["code"] == "alert_incomplete"
    assert Delivery.objects.count() == before


NOT_STORED = [
    psycopg.OperationalError,
    psycopg.InterfaceError,
    psycopg.errors.UndefinedTable,
    MemoryError,
    UnicodeEncodeError("utf-8", "x", 0, 1, "no"),
]


@pytest.mark.parametrize("error", NOT_STORED)
def test_without_its_table_or_database_it_answers_503_so_that_it_is_sent_again(monkeypatch, error):
    def fail(_delivery):
        raise error

    monkeypatch.setattr(recorder, "insert", fail)
    counted = outcomes("unavailable")
    response = post(alertmanager_body("X"))

    assert response.status_code == 503
    assert response["Retry-After"] == "1"
    assert response.json()["code"] == "alert_unavailable"
    assert outcomes("unavailable") == counted + 1


@pytest.mark.parametrize("body", [*UNREADABLE.values(), *READABLE.values()], ids=[*UNREADABLE, *READABLE])
def test_whatever_is_sent_is_stored_before_200_is_answered(body):
    counted = outcomes("stored")
    response = post(body)

    assert response.status_code == 200
    delivery = Delivery.objects.get(pk=response.json()["id"])
    assert bytes(delivery.body) == body
    assert response.json()["sha256"] == hashlib.sha256(body).hexdigest()
    assert outcomes("stored") == counted + 1


@pytest.mark.parametrize("content_type", ["", "text/plain", "multipart/form-data", "application/json; a=b"])
def test_the_content_type_is_kept_and_does_not_matter(content_type):
    response = post(alertmanager_body("X"), content_type=content_type)

    assert response.status_code == 200
    assert (Delivery.objects.get(pk=response.json()["id"]).content_type or "") == content_type


def test_a_compressed_body_is_kept_as_it_came():
    body = gzip.compress(alertmanager_body("X"))
    response = post(body, HTTP_CONTENT_ENCODING="gzip")

    delivery = Delivery.objects.get(pk=response.json()["id"])
    assert bytes(delivery.body) == body
    assert delivery.content_encoding == "gzip"


texts = st.text(st.characters(exclude_categories=[]), max_size=20)  # NUL and halves of surrogate pairs, too
documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(texts | st.sampled_from(KEYS), inner, max_size=5),
    max_leaves=20,
)


@given(body=st.binary(max_size=300) | documents.map(json.dumps).map(str.encode))
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.differing_executors])
def test_whatever_anybody_can_think_of_is_stored(body):
    response = post(body)

    assert response.status_code == 200
    assert bytes(Delivery.objects.get(pk=response.json()["id"]).body) == body


def test_the_same_body_twice_is_two_deliveries():
    body = alertmanager_body("X")

    assert post(body).json()["id"] < post(body).json()["id"]


def test_the_scheme_may_be_written_in_any_case():
    assert post(b"{}", authorization=f"bearer {django_settings.ALERT_TOKEN}").status_code == 200


def test_the_log_says_alert_received_with_the_request_id(caplog):
    caplog.set_level(logging.INFO, "alerts_audit")
    written = io.StringIO()
    handler, logger = logging.StreamHandler(written), logging.getLogger("alerts_audit")
    handler.setFormatter(JsonFormatter())
    logger.addHandler(handler)
    try:
        response = post(alertmanager_body("X"), HTTP_X_REQUEST_ID="from-alertmanager")
        delivery = Delivery.objects.get(pk=response.json()["id"])
        assert line_about(caplog, "alert_received", delivery.pk)
    finally:
        logger.removeHandler(handler)

    assert delivery.request_id == response["X-Request-ID"] == "from-alertmanager"
    texts = [json.loads(text) for text in written.getvalue().splitlines()]
    assert [text["request_id"] for text in texts if text.get("delivery_id") == delivery.pk and "size" in text] == [
        "from-alertmanager"
    ]


def test_the_log_has_the_senders_trace(caplog):
    trace = secrets.token_hex(16)
    response = post(alertmanager_body("X"), HTTP_TRACEPARENT=f"00-{trace}-{secrets.token_hex(8)}-01")

    assert Delivery.objects.get(pk=response.json()["id"]).trace_id == trace


@pytest.mark.parametrize("header", ["", "x" * 8000, "00-zz-zz-01", f"00-{'0' * 32}-{'1' * 16}-01", "é"])
def test_a_malformed_trace_is_overlooked(header):
    response = post(alertmanager_body("X"), HTTP_TRACEPARENT=header)

    assert Delivery.objects.get(pk=response.json()["id"]).trace_id is None


def test_alerts_are_counted_by_their_own_status_once_they_are_stored(caplog):
    mixed: list[dict[str, Any]] = [
        {"status": status, "labels": {}} for status in ("firing", "resolved", "resolved", "invented")
    ]
    caplog.set_level(logging.INFO, "alerts_audit")
    line_about(caplog, "alert_received", post(b"{").json()["id"])  # all before it are counted
    before = alerts("firing"), alerts("resolved")
    post(alertmanager_body(alerts=mixed))
    post(b"{")

    counted = (before[0] + 1, before[1] + 2)
    wait_until(lambda: (alerts("firing"), alerts("resolved")) == counted, what="the alerts are counted")
    assert REGISTRY.get_sample_value("alerts_received_total", {"status": "invented"}) is None


def test_trouble_after_the_commit_is_logged_and_does_not_take_the_answer_back(monkeypatch, caplog):
    monkeypatch.setattr("alerts_audit.webhook.services.log_fields", lambda *_: 1 / 0)
    response = post(alertmanager_body("X"))

    assert response.status_code == 200
    assert line_about(caplog, "alert_summary_failed", response.json()["id"])


class Gate(logging.Handler):
    """A log handler that blocks the logging thread until it is opened."""

    def __init__(self) -> None:
        super().__init__()
        self.opened = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        if record.getMessage() == "alert_received":
            assert self.opened.wait(10)


def test_the_sender_does_not_wait_until_its_payload_is_read(caplog):
    caplog.set_level(logging.INFO, "alerts_audit")
    gate, logger = Gate(), logging.getLogger("alerts_audit")
    logger.addHandler(gate)
    try:
        response = post(alertmanager_body("X"))
        assert Delivery.objects.filter(pk=response.json()["id"]).exists()
        assert not gate.opened.is_set()
    finally:
        gate.opened.set()
        logger.removeHandler(gate)

    assert line_about(caplog, "alert_received", response.json()["id"])


def test_a_projector_that_cannot_be_woken_does_not_take_the_answer_back(monkeypatch, caplog):
    monkeypatch.setattr("alerts_audit.webhook.background.BackgroundThread._start", lambda _: 1 / 0)

    assert post(alertmanager_body("X")).status_code == 200
    assert "projector_not_woken" in caplog.messages


def test_every_outcome_is_exported_from_the_start():
    for outcome in ("stored", "partial", "incomplete", "unavailable"):
        labels = {"source": "alertmanager", "outcome": outcome}
        assert REGISTRY.get_sample_value("alert_deliveries_total", labels) is not None
    for outcome in ("unauthorized", "unavailable"):
        assert REGISTRY.get_sample_value("alert_deliveries_total", {"source": "", "outcome": outcome}) is not None
    for status in ("firing", "resolved"):
        assert REGISTRY.get_sample_value("alerts_received_total", {"status": status}) is not None


def test_the_answer_is_plain_json():
    response = post(b"")

    assert response["Content-Type"] == "application/json"
    assert set(json.loads(response.content)) == {"id", "sha256"}
