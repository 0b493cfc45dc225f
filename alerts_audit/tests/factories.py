"""People, and episodes for them to review. Rows are made directly, in tests that are rolled back."""

import itertools
import secrets
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from django.contrib.auth.models import Group, Permission, User
from django.test import Client

from alerts_audit.models import Archive, Envelope, Episode, Identity, Transition
from alerts_audit.permissions import issue_token

# Far apart: a projector of another test continues from the highest number that it finds committed.
_numbers = itertools.count(10**15, 10**6)
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


def make_user(*permissions: str, group: str | None = None, **fields: Any) -> User:
    """Permissions are those of the trail, such as `view_episode`."""
    user = User.objects.create(username=f"u{secrets.token_hex(6)}", **{"is_staff": True, **fields})
    known = Permission.objects.filter(content_type__app_label="alerts_audit", codename__in=permissions)
    assert len(known) == len(permissions)
    user.user_permissions.set(known)
    if group is not None:
        user.groups.add(Group.objects.get(name=group))
    return user


def sign_in(user: User, **options: Any) -> Client:
    client = Client(**options)
    client.force_login(user)
    return client


class Api:
    """Calls with an access token, as a program makes them."""

    def __init__(self, user: User) -> None:
        self.user = user
        _, self.token = issue_token(user=user, name="test")
        self.client = Client(headers={"Authorization": f"Bearer {self.token}"})

    def get(self, path: str, **query: Any) -> Any:
        """`path` is below /v1/alerts/, or the whole address that `next` holds."""
        return self.client.get(path if path.startswith("http") else f"/v1/alerts/{path}", query or None)

    def post(self, path: str, body: Any) -> Any:
        return self.client.post(f"/v1/alerts/{path}", body, content_type="application/json")


def responder() -> User:
    return make_user(group="responder")


def make_identity(alertname: str = "PaymentErrorRatioHigh", *, severity: str = "critical", **labels: str) -> Identity:
    cluster = labels.pop("cluster", "main")
    return Identity.objects.create(
        id=next(_numbers),
        sha256=secrets.token_bytes(32),
        cluster=cluster,
        labels={"alertname": alertname, "severity": severity, **labels},
        alertname=alertname,
        severity=severity,
        fingerprint=secrets.token_hex(8),
    )


def make_episode(identity: Identity | None = None, *, state: str = "resolved", **fields: Any) -> Episode:
    """An hour after noon of 20 November, for ten minutes; newer than all that were made before."""
    identity = identity or make_identity()
    number = next(_numbers)
    start = fields.pop("starts_at", NOON + timedelta(hours=1))
    end = None if state == "firing" else start + timedelta(minutes=10)
    values = {
        "key": uuid4(),
        "alertname": identity.alertname,
        "severity": identity.severity,
        "summary": "More than 5 % of payments fail.",
        "annotations": {"summary": "More than 5 % of payments fail."},
        "generator_url": "http://prometheus:9090/graph?g0.expr=up",
        "ends_at": end,
        "opened_at": start,
        "closed_at": end,
        "last_seen_at": end or start,
        "opened_input": number,
        "last_input": number,
        **fields,
    }
    return Episode.objects.create(id=number, identity=identity, state=state, starts_at=start, **values)


def archived_delivery(**fields: Any) -> int:
    """The number of a delivery that is no longer here: the archive of leaves 0 to 9 has it, and its envelope stays."""
    number = next(_numbers)
    values = {"receiver": "audit", "status": "firing", "alerts": 2, "alertnames": ["TargetDown"], **fields}
    Envelope.objects.create(delivery_id=number, input_number=number, **values)
    Archive.objects.create(
        first_leaf=0,
        end_leaf=10,
        last_input=number,
        file_name="alert-trail-0-9.jsonl.gz",
        file_sha256=b"a" * 32,
        carried={},
        by="ann",
    )
    return number


def told_by(episode: Episode, delivery: int) -> int:
    """That delivery began the episode."""
    number = next(_numbers)
    Transition.objects.create(
        id=number, episode=episode, input_number=number, to_state="firing", at=episode.starts_at, delivery_id=delivery
    )
    return delivery
