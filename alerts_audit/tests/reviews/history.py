"""Weeks of alerts that are over, for pictures. Their numbers are below zero: the projection counts on from the last."""

import random
import secrets
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from alerts_audit.models import Episode, Identity, Review

NAMES = [
    ("GatewayLatencyHigh", "warning", 9),
    ("PaymentErrorRatioHigh", "critical", 5),
    ("DiskFillsUp", "warning", 4),
    ("TargetDown", "critical", 3),
    ("CertificateExpires", "warning", 2),
    ("KpiDrift", "critical", 1),
]


def make_history(days: int = 30) -> None:
    chance, now = random.Random(11), datetime.now(UTC)
    identities = {name: _identity(-number, name, severity) for number, (name, severity, _) in enumerate(NAMES, 1)}
    for number in range(1, days * 9):
        ((name, severity, _),) = chance.choices(NAMES, weights=[share for _, _, share in NAMES])
        start = now - timedelta(days=days * chance.random())
        end = start + timedelta(minutes=chance.expovariate(1 / 25))
        episode = Episode.objects.create(
            id=-number,
            key=uuid4(),
            identity=identities[name],
            state="resolved",
            alertname=name,
            severity=severity,
            summary="",
            generator_url="",
            starts_at=start,
            ends_at=end,
            opened_at=start,
            closed_at=end,
            last_seen_at=end,
            opened_input=-number,
            last_input=-number,
        )
        if chance.random() < 0.8:
            at = start + timedelta(minutes=chance.expovariate(1 / 4))
            _say(episode, Review.Kind.ACKNOWLEDGE, at, "")
        if name == "GatewayLatencyHigh" and chance.random() < 0.3:
            _say(episode, Review.Kind.NOISE, end, "One slow charge in a quiet hour.")


def _identity(number: int, name: str, severity: str) -> Identity:
    return Identity.objects.create(
        id=number,
        sha256=secrets.token_bytes(32),
        cluster="main",
        labels={"alertname": name, "severity": severity},
        alertname=name,
        severity=severity,
        fingerprint="",
    )


def _say(episode: Episode, kind: str, at: datetime, text: str) -> None:
    Review.objects.create(episode_key=episode.key, kind=kind, text=text, author="maria", author_id=1, at=at)
