"""Liveness, readiness and the metrics of the web's own port."""

from unittest.mock import Mock

import psycopg_pool
import pytest
from django.db import OperationalError
from django.db.migrations.executor import MigrationExecutor
from django.test import Client

from fintech.http import health
from fintech.server import draining
from fintech.telemetry import clock


@pytest.fixture
def client() -> Client:
    return Client(headers={"Host": "localhost"})


@pytest.fixture(autouse=True)
def _nothing_is_known_yet(monkeypatch):
    monkeypatch.setattr(health, "_migrated", False)


def test_it_is_alive_whatever_the_database_does(client, monkeypatch):
    monkeypatch.setattr(health, "connections", Mock(side_effect=OperationalError))

    reply = client.get("/health")

    assert (reply.status_code, reply.json()) == (200, {"status": "ok"})


def test_it_is_ready_when_the_database_answers_and_is_migrated(client):
    reply = client.get("/ready")

    assert (reply.status_code, reply.json()["status"]) == (200, "ready")


@pytest.mark.parametrize("error", [OperationalError("password=secret"), psycopg_pool.PoolTimeout("3 s")])
def test_it_is_not_ready_without_a_database(client, monkeypatch, error):
    connection = Mock()
    connection.cursor.side_effect = error
    monkeypatch.setattr(health, "connections", {"default": connection})

    reply = client.get("/ready")

    assert (reply.status_code, reply.json()["code"]) == (503, "database_unavailable")
    assert b"secret" not in reply.content


def test_it_is_not_ready_but_alive_while_a_stop_is_announced(client, monkeypatch, tmp_path):
    monkeypatch.setenv("RUNTIME_DIR", str(tmp_path))
    draining.mark().touch()

    reply, alive = client.get("/ready"), client.get("/health")
    draining.forget()

    assert (reply.status_code, reply.json()["code"]) == (503, "draining")
    assert alive.status_code == 200
    assert client.get("/ready").status_code == 200


def test_it_is_not_ready_before_it_is_migrated_and_says_what_is_missing(client, monkeypatch):
    monkeypatch.setattr(MigrationExecutor, "migration_plan", lambda *_: [("payments.0009_more", False)])

    reply = client.get("/ready")

    assert (reply.status_code, reply.json()["code"]) == (503, "not_migrated")
    assert "payments.0009_more" in reply.json()["detail"]


def test_migrations_are_looked_for_until_they_are_there_and_not_again(client, monkeypatch):
    plan = Mock(return_value=[])
    monkeypatch.setattr(MigrationExecutor, "migration_plan", plan)

    for _ in range(3):
        assert client.get("/ready").status_code == 200

    assert plan.call_count == 1


@pytest.mark.parametrize(("shift", "status"), [(-60, 503), (60, 503), (-3, 200), (3, 200)])
def test_a_host_whose_clock_is_far_off_is_not_ready(client, shift, status):
    now = 1_800_000_000.0
    clock.compare(now, now + shift, now + 0.1)
    try:
        assert client.get("/ready").status_code == status
    finally:
        clock.compare(now, now, now)


def test_a_slow_answer_is_no_sign_of_a_wrong_clock():
    clock.compare(100.0, 130.0, 160.0)

    assert not clock.is_skewed()


@pytest.mark.parametrize("path", ["/health/", "/ready/", "/metrics/", "/metrics/x", "/healthz"])
def test_other_paths_are_not_found(client, path):
    assert client.get(path).json()["code"] == "not_found"


def test_open_metrics_need_no_token(client, settings):
    assert client.get("/metrics").status_code == 401

    settings.METRICS_TOKEN = "open"
    assert client.get("/metrics").status_code == 200


@pytest.mark.parametrize("path", ["/", "/admin"])
def test_the_bare_address_redirects_people_to_the_admin(client, path):
    reply = client.get(path)

    assert (reply.status_code, reply["Location"]) == (302, "/admin/")
    assert client.post(path).status_code == 405
