"""Processes die at any point, and every delivery answered with 200 is in the table, byte for byte.

Senders behave like Alertmanager: without an answer, or after a 5xx, they send the same again. The database has its
production settings, because the test is about durability.
"""

import hashlib
import os
import random
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import partial
from http.client import HTTPException
from pathlib import Path

import psycopg
import pytest
from django.conf import settings

from alerts_audit.tests.payloads import alertmanager_body
from fintech.run.postgres import EmbeddedPostgres
from fintech.testing.databases import migrated_server
from fintech.testing.processes import BASE_DIR, IN_FULL, Load, Platform, wait_until

pytestmark = pytest.mark.processes

SENDERS = 6
KILLS = 40 if IN_FULL else 4


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedPostgres]:
    # Not below a test's directory: the server's account could not pass through it.
    with tempfile.TemporaryDirectory(prefix="fintech-own-") as place:
        server = migrated_server(Path(place), {})
        server.start()
        yield server
        server.stop("immediate")


@pytest.fixture(scope="module")
def platform(server: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    directory = tmp_path_factory.mktemp("platform")
    env = server.urls("fintech") | {"AUDIT_DIR": str(directory / "audit")}
    with Platform(directory, workers=2, worker=False, env=env) as platform:
        yield platform


@pytest.fixture(scope="module")
def tokens(platform: Platform) -> list[str]:
    """The one that is a setting, and one that is known to the database alone."""
    return [settings.ALERT_TOKEN, manage(platform.env, "alert_source", "add", "alertmanager-b").strip()]


def manage(env: Mapping[str, str], *words: str) -> str:
    command = [sys.executable, "manage.py", *words]
    return subprocess.run(
        command, cwd=BASE_DIR, env={**os.environ, **env}, check=True, text=True, stdout=subprocess.PIPE
    ).stdout


class Senders(Load):
    """Alertmanagers that send all the time. `acknowledged`: the ids they were given, and the hash of what they sent."""

    def __init__(self, platform: Platform, tokens: list[str]) -> None:
        super().__init__([partial(self._send, token) for token in tokens for _ in range(SENDERS // 2)])
        self._platform = platform
        self.acknowledged: dict[int, str] = {}
        self.statuses: set[int] = set()

    def _send(self, token: str) -> None:
        while not self.stopped.is_set():
            body = alertmanager_body(secrets.token_hex(12) * random.choice([1, 1, 1, 20_000]))
            while not self.stopped.is_set() and not self._deliver(body, token):
                self.stopped.wait(0.05)

    def _deliver(self, body: bytes, token: str) -> bool:
        with suppress(OSError, HTTPException):  # no answer
            bearer = {"Authorization": f"Bearer {token}"}
            reply = self._platform.request("POST", "/alert", body, headers=bearer, timeout=10)
            self.statuses.add(reply.status)
            if reply.status == 200:
                self.acknowledged[reply.body["id"]] = hashlib.sha256(body).hexdigest()
                return True
        return False

    def wait_for_more(self) -> None:
        enough = len(self.acknowledged) + 5 * SENDERS
        wait_until(lambda: len(self.acknowledged) >= enough, timeout=30, what="deliveries are acknowledged")


def stored(server: EmbeddedPostgres) -> dict[int, str]:
    """The hash of each body in the table, made from the bytes."""
    with psycopg.connect(server.url("postgres", "fintech")) as connection:
        rows = connection.execute("SELECT id, encode(sha256(body), 'hex') FROM alerts_audit_delivery")
        return dict(rows.fetchall())


def lost(senders: Senders, server: EmbeddedPostgres) -> dict[int, str]:
    return dict(senders.acknowledged.items() - stored(server).items())


@pytest.mark.slow
def test_killing_web_processes_loses_no_delivery_that_was_answered(platform, server, tokens):
    with Senders(platform, tokens) as senders:
        for kill in range(KILLS):
            senders.wait_for_more()
            if kill % 4 == 3:  # all of them and the master at once
                platform.web.kill()
                platform.start()
            else:
                platform.kill_one_worker()
        senders.wait_for_more()

    assert lost(senders, server) == {}
    assert senders.statuses == {200}


@pytest.mark.slow
def test_a_crash_of_the_database_loses_no_delivery_that_was_answered(platform, server, tokens):
    with Senders(platform, tokens) as senders:
        for _ in range(KILLS // 4):
            senders.wait_for_more()
            server.stop("immediate")
            wait_until(lambda: 503 in senders.statuses, what="senders are asked to try again")
            server.start()
        senders.wait_for_more()

    assert lost(senders, server) == {}
    assert senders.statuses == {200, 503}
