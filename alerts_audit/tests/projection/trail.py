"""A trail in minutes: the reports of peers `a` and `b` of one cluster, the alerts of their Alertmanagers, and the
result.

trail.fires(0)                 at minute 0, peer a: it fires since minute 0
trail.ends(9, at=5, peer="b")  at minute 9, peer b: it ended at minute 5
trail.project()
assert trail.story() == [...]
"""

import hashlib
import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

import orjson
import psycopg

from alerts_audit.models import Delivery, Episode, Input, Observation, Poll, Source, Transition
from alerts_audit.projection import diff_rebuild
from alerts_audit.projection.projector import Projector
from alerts_audit.tests.seal.trails import on_database
from fintech.testing.databases import session_server

NEVER = "0001-01-01T00:00:00Z"


def url(user: str, database: str) -> str:
    return session_server().url(user, database)


def urls(database: str) -> dict[str, str]:
    return session_server().urls(database)


class Trail:
    """`zero` is minute 0; the database's clock, which ticks go by, is at minute 600."""

    def __init__(self, database: str, projector: Projector | None = None) -> None:
        self.database = database
        self.cluster = f"c-{secrets.token_hex(6)}"
        self.alertname = f"Alert-{self.cluster}"
        self.projector = projector or Projector()
        self.zero = datetime.now(UTC) - timedelta(minutes=600)

    def another(self) -> Self:
        """A cluster beside this one, while this one is used."""
        other = type(self)(self.database, self.projector)
        other.add_sources()
        return other

    def add_sources(self) -> None:
        for peer in "ab":
            Source.objects.create(name=self.source(peer), cluster=self.cluster)

    @contextmanager
    def used(self, audit_dir: Path) -> Iterator[Self]:
        with on_database(urls(self.database), audit_dir):
            try:
                self.add_sources()
                yield self
            finally:
                self.projector.disconnect()

    def source(self, peer: str) -> str:
        return f"{self.cluster}-{peer}"

    def time(self, minute: float | str | None) -> str:
        """Convert minutes to a time; a text is used as it is, because a delivery may contain anything."""
        if isinstance(minute, str):
            return minute
        return NEVER if minute is None else (self.zero + timedelta(minutes=minute)).isoformat()

    def minute(self, time: datetime | None) -> float | None:
        return None if time is None else round((time - self.zero).total_seconds() / 60, 2)

    # --- what comes

    def alert(self, status: str = "firing", since: Any = 0, at: Any = None, **fields: Any) -> dict[str, Any]:
        return {
            "status": status,
            "labels": {"alertname": self.alertname, "severity": "critical", "instance": "one"},
            "annotations": {"summary": "More than 5 % of payments fail."},
            "startsAt": self.time(since),
            "endsAt": self.time(at),
            "generatorURL": "http://prometheus:9090/graph",
            "fingerprint": "c6a3f6d1e4b5a2f0",
            **fields,
        }

    def document(self, *alerts: dict[str, Any], **fields: Any) -> dict[str, Any]:
        return {
            "version": "4",
            "groupKey": f'{{}}:{{alertname="{self.alertname}"}}',
            "truncatedAlerts": 0,
            "status": "firing",
            "receiver": "audit",
            "groupLabels": {},
            "commonLabels": {},
            "commonAnnotations": {},
            "externalURL": "http://alertmanager:9093",
            "alerts": list(alerts),
            **fields,
        }

    def deliver(self, body: bytes | dict[str, Any], minute: float = 0, peer: str = "a", size: int | None = None) -> int:
        """`size` is that of the whole, where this is a part of it."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        digest = hashlib.sha256(content).digest()
        delivery = Delivery.objects.create(
            received_at=self.zero + timedelta(minutes=minute),
            source=self.source(peer),
            body=content,
            sha256=digest,
            size=size or len(content),
            kept_sha256=digest if size else None,
        )
        return delivery.pk

    def fires(self, minute: float, since: Any = 0, peer: str = "a") -> int:
        return self.deliver(self.document(self.alert(since=since)), minute, peer)

    def ends(self, minute: float, since: Any = 0, at: Any = 5, peer: str = "a") -> int:
        return self.deliver(self.document(self.alert("resolved", since, at), status="resolved"), minute, peer)

    def sees(self, minute: float, peer: str = "a", *, known: bool, silenced_by: str | None = None) -> int:
        """Store an answer of an Alertmanager that differs from the previous one."""
        alert = self.alert()
        silences = [silenced_by] if silenced_by else []
        seen = {"labels": alert["labels"], "starts_at": self.time(0), "silenced_by": silences, "inhibited_by": []}
        body = orjson.dumps({"cluster": self.cluster, "alerts": [seen] if known else [], "at": minute})
        observation = Observation.objects.create(
            source=self.source(peer),
            kind="alertmanager",
            observed_at=self.zero + timedelta(minutes=minute),
            body=body,
            sha256=hashlib.sha256(body).digest(),
        )
        return observation.pk

    def polls(self, minute: float, *peers: str) -> None:
        """The answer of these Alertmanagers is the same until then."""
        for peer in peers:
            until = self.zero + timedelta(minutes=minute)
            Poll.objects.update_or_create(source=self.source(peer), kind="alertmanager", defaults={"until": until})

    def project(self) -> int:
        return self.projector.project_pending()

    def tick(self) -> int:
        return self.projector.tick()

    # --- what follows

    def episodes(self) -> list[Episode]:
        return list(Episode.objects.filter(identity__cluster=self.cluster).order_by("pk"))

    def story(self) -> list[tuple[str, float | None, float | None, list[str]]]:
        """Each episode: its state, the minutes of its start and its end, and the states that it went through."""
        return [
            (episode.state, self.minute(episode.starts_at), self.minute(episode.ends_at), self.states(episode))
            for episode in self.episodes()
        ]

    def states(self, episode: Episode) -> list[str]:
        return list(Transition.objects.filter(episode=episode).order_by("pk").values_list("to_state", flat=True))

    def differences(self) -> list[str]:
        return list(diff_rebuild())

    def query(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        with psycopg.connect(url("postgres", self.database), autocommit=True) as connection:
            return connection.execute(statement, values or None).fetchall()

    def tamper(self, statement: str, *values: Any) -> None:
        """As a superuser, past every trigger."""
        with psycopg.connect(url("postgres", self.database), autocommit=True) as connection:
            connection.execute("SET session_replication_role = replica")
            connection.execute(statement, values or None)

    def inputs_are_dense(self) -> bool:
        numbers = list(Input.objects.order_by("number").values_list("number", flat=True))
        return numbers == list(range(1, len(numbers) + 1))
