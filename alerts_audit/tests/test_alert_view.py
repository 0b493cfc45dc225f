"""`POST /alert` as Alertmanager and as a stranger see it."""

import gzip
import hashlib
import json
import logging

import psycopg
import pytest
from django.conf import settings
from django.test import Client
from prometheus_client import REGISTRY

from alerts_audit.body import LIMIT
from alerts_audit.models import Delivery
from alerts_audit.recorder import recorder
from alerts_audit.tests.payloads import READABLE, UNREADABLE, alertmanager_body


def post(body: bytes, *, authorization: str | None = None, content_type="application/json", **environ):
    """`environ` are WSGI variables, such as HTTP_X_REQUEST_ID."""
    environ["HTTP_AUTHORIZATION"] = f"Bearer {settings.ALERT_TOKEN}" if authorization is None else authorization
    return Client().post("/alert", body, content_type=content_type, **environ)


def outcomes(outcome: str) -> float:
    return REGISTRY.get_sample_value("alert_deliveries_total", {"outcome": outcome}) or 0


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
    before, counted = Delivery.objects.count(), outcomes("unauthorized")
    response = post(b"{}", authorization=authorization.format(token=settings.ALERT_TOKEN))

    assert response.status_code == 401
    assert response["Content-Type"] == "application/problem+json"
    assert response["WWW-Authenticate"] == "Bearer"
    assert response.json()["code"] == "alert_unauthorized"
    assert settings.ALERT_TOKEN not in response.text
    assert Delivery.objects.count() == before
    assert outcomes("unauthorized") == counted + 1


@pytest.mark.parametrize("method", ["get", "put", "patch", "delete", "head", "options"])
def test_any_method_but_post_is_405(method):
    response = getattr(Client(), method)("/alert")

    assert response.status_code == 405
    assert response["Allow"] == "POST"


@pytest.mark.parametrize("path", ["/alert/", "/Alert", "/alert/x"])
def test_no_spelling_of_the_path_is_redirected(path):
    response = Client().post(path, b"{}", content_type="application/json")

    assert response.status_code == 404


def test_a_body_above_16_mib_is_refused_and_logged(caplog):
    before = Delivery.objects.count()
    response = post(b"x" * (LIMIT + 1))

    assert response.status_code == 413
    assert response.json()["code"] == "alert_too_large"
    assert Delivery.objects.count() == before
    [line] = [line for line in caplog.records if line.name == "alerts_audit"]
    assert (line.getMessage(), line.__dict__["size"]) == ("alert_too_large", LIMIT + 1)


def test_half_a_body_is_answered_with_503_so_that_it_is_sent_again():
    before = Delivery.objects.count()
    response = post(b"half", CONTENT_LENGTH="8")

    assert response.status_code == 503
    assert response.json()["code"] == "alert_incomplete"
    assert Delivery.objects.count() == before


@pytest.mark.parametrize("error", [psycopg.OperationalError, psycopg.InterfaceError, psycopg.errors.UndefinedTable])
def test_without_its_table_or_database_it_answers_503_so_that_it_is_sent_again(monkeypatch, error):
    def fail(_delivery):
        raise error("the connection is lost")

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


def test_ten_thousand_alerts_are_more_than_djangos_own_limit_and_are_stored():
    body = alertmanager_body(*(f"Alert{number}" for number in range(20_000)))
    assert len(body) > settings.DATA_UPLOAD_MAX_MEMORY_SIZE

    response = post(body)

    assert response.status_code == 200
    assert Delivery.objects.get(pk=response.json()["id"]).size == len(body)


def test_the_same_body_twice_is_two_deliveries():
    body = alertmanager_body("X")

    assert post(body).json()["id"] < post(body).json()["id"]


def test_the_scheme_may_be_written_in_any_case():
    assert post(b"{}", authorization=f"bearer {settings.ALERT_TOKEN}").status_code == 200


def test_the_log_says_alert_received_with_the_request_id(caplog):
    caplog.set_level(logging.INFO, "alerts_audit")
    response = post(alertmanager_body("X"), HTTP_X_REQUEST_ID="from-alertmanager")

    delivery = Delivery.objects.get(pk=response.json()["id"])
    assert delivery.request_id == response["X-Request-ID"] == "from-alertmanager"
    lines = [line for line in caplog.records if line.getMessage() == "alert_received"]
    assert [line.__dict__["delivery_id"] for line in lines] == [delivery.pk]


def test_every_outcome_is_exported_from_the_start():
    for outcome in ("stored", "unauthorized", "too_large", "incomplete", "unavailable"):
        assert REGISTRY.get_sample_value("alert_deliveries_total", {"outcome": outcome}) is not None


def test_the_answer_is_plain_json():
    response = post(b"")

    assert response["Content-Type"] == "application/json"
    assert set(json.loads(response.content)) == {"id", "sha256"}
