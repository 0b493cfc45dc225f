"""Small trails in databases of their own, which a test may tamper with as a superuser.

One sealed trail is made for all tests; each test gets a copy of the database and of AUDIT_DIR.
"""

import hashlib
import secrets
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
from django.db import connections
from django.test import override_settings
from django.utils.module_loading import import_string

from alerts_audit.gaps import close_gap, open_gap
from alerts_audit.models import Delivery, Gap, Observation, Review, View
from alerts_audit.projection.projector import Projector
from alerts_audit.seal.sealer import seal
from alerts_audit.seal.verify import Report, verify
from alerts_audit.tests.payloads import alertmanager_body
from fintech.run.postgres import EmbeddedPostgres
from fintech.settings import database
from fintech.testing.databases import copy_database, session_server

MOMENT = datetime(2026, 11, 1, 12, 0, 0, 123456, tzinfo=UTC)


@contextmanager
def on_database(urls: Mapping[str, str], audit_dir: Path) -> Iterator[None]:
    """In this thread Django's connections lead there, as the two roles; in the process, AUDIT_DIR is that folder."""
    with override_settings(AUDIT_DIR=audit_dir), connected(urls):
        yield


@contextmanager
def connected(urls: Mapping[str, str]) -> Iterator[None]:
    """In this thread Django's connections lead there, as the two roles."""
    before = {alias: connections[alias] for alias in ("default", "owner")}
    for alias, wrapper in before.items():
        name = "DATABASE_URL" if alias == "default" else "DATABASE_OWNER_URL"
        options = {**wrapper.settings_dict, **database(name, urls[name])}
        connections[alias] = import_string(f"{options['ENGINE']}.base.DatabaseWrapper")(options, alias)
    try:
        yield
    finally:
        for alias, wrapper in before.items():
            connections[alias].close()
            connections[alias] = wrapper


@dataclass
class Trail:
    name: str
    directory: Path

    @property
    def server(self) -> EmbeddedPostgres:
        return session_server()

    @property
    def checkpoints(self) -> Path:
        return self.directory / "checkpoints"

    @contextmanager
    def used(self) -> Iterator[None]:
        with on_database(self.server.urls(self.name), self.directory):
            yield

    def tamper(self, *statements: str, values: tuple[Any, ...] = ()) -> None:
        """As a superuser, past every trigger and constraint."""
        with psycopg.connect(self.server.url("postgres", self.name), autocommit=True) as connection:
            connection.execute("SET session_replication_role = replica")
            for statement in statements:
                connection.execute(statement, values or None)

    def query(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.server.url("postgres", self.name), autocommit=True) as connection:
            return connection.execute(statement, values or None).fetchall()

    def verify(self, **options: Any) -> Report:
        with self.used():
            return verify(**options)

    def found(self, **options: Any) -> list[tuple[str, str]]:
        """(code, subject) of each finding, without looking at the projection."""
        return [(finding.code, finding.subject) for finding in self.verify(projection=False, **options).findings]

    def seal(self) -> None:
        with self.used():
            seal()

    def copy(self, directory: Path) -> "Trail":
        """Return a copy of the database and the folder, to be damaged."""
        name = f"trail_{secrets.token_hex(4)}"
        copy_database(name, self.name)
        if self.directory.exists():
            shutil.copytree(self.directory, directory)
        return Trail(name, directory)


def make_delivery(body: bytes = b"{}") -> Delivery:
    digest = hashlib.sha256(body).digest()
    return Delivery.objects.create(source="seal", body=body, sha256=digest, size=len(body), request_id="r-1")


def make_gap() -> Gap:
    labels, details = {"alertname": "A"}, {"share": 1.50}
    gap = open_gap(reason="outage", subject=secrets.token_hex(12), since=MOMENT, labels=labels, details=details)
    assert gap is not None
    return gap


def end_gap(gap: Gap) -> None:
    close_gap(reason=gap.reason, subject=gap.subject, until=MOMENT)


def observe() -> Observation:
    body = b'{"alerts": []}'
    digest = hashlib.sha256(body).digest()
    return Observation.objects.create(source="seal", kind="alertmanager", body=body, sha256=digest)


def project() -> None:
    projector = Projector()
    try:
        projector.project_pending()
    finally:
        projector.disconnect()


def fill() -> None:
    """At least one of each kind of row, in three checkpoints of 9, 19 and 28 leaves and one that has nothing new."""
    for number in range(3):
        make_delivery(alertmanager_body(f"Alert{number}"))
        make_delivery(alertmanager_body(f"Alert{number}", status="resolved"))
        observe()
        project()
        Review.objects.create(episode_key=uuid.uuid4(), kind="comment", text="seen", author="ann", author_id=1)
        gap = make_gap()
        if number == 1:
            end_gap(gap)
        View.objects.create(user="ann", user_id=1, what="episode", key=str(number))
        seal()
    seal()
