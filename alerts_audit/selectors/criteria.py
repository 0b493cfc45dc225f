"""The filters of a list of episodes, from and to the parameters of a request."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.http import QueryDict

from alerts_audit.models import Episode
from fintech.http import pagination
from fintech.http.identifiers import parse_uuid
from fintech.http.pagination import invalid, read_time

MAX_LABELS = 10
PARAMETERS = {
    "key": "The key of one episode.",
    "state": "A state of the episode.",
    "severity": "The label `severity`.",
    "alertname": "The label `alertname`.",
    "label": "`key=value`, an exact match; can be sent up to ten times, and all must match.",
    "cluster": "The cluster of the Alertmanager that reported it.",
    "opened_from": "First reported at this time or later, such as 2026-01-31T12:00:00Z.",
    "opened_before": "First reported before this time.",
    "acknowledged": "`true` or `false`.",
    "noise": "`true` or `false`: marked as noise.",
}


@dataclass(frozen=True)
class Criteria:
    """The filters of a list. All that are set must match."""

    key: UUID | None = None
    state: str | None = None
    severity: str | None = None
    alertname: str | None = None
    labels: dict[str, str] = field(default_factory=dict)
    cluster: str | None = None
    opened_from: datetime | None = None
    opened_before: datetime | None = None
    acknowledged: bool | None = None
    noise: bool | None = None


def read_criteria(query: QueryDict) -> Criteria:
    """Read the filters from the parameters. Raise Problem 422."""
    state = query.get("state")
    if state is not None:
        state = pagination.read_choice("state", state, Episode.State.values)
    return Criteria(
        key=_key(query),
        state=state,
        severity=_text(query, "severity"),
        alertname=_text(query, "alertname"),
        labels=_labels(query.getlist("label")),
        cluster=_text(query, "cluster"),
        opened_from=_time(query, "opened_from"),
        opened_before=_time(query, "opened_before"),
        acknowledged=_boolean(query, "acknowledged"),
        noise=_boolean(query, "noise"),
    )


def _key(query: QueryDict) -> UUID | None:
    value = query.get("key")
    key = None if value is None else parse_uuid(value)
    if value is not None and key is None:
        raise invalid("key", "use a UUID such as 67b2b3d5-4ef8-82d4-b7e9-9e0f6d016714")
    return key


def _time(query: QueryDict, name: str) -> datetime | None:
    value = query.get(name)
    return None if value is None else read_time(name, value)


def _text(query: QueryDict, name: str) -> str | None:
    value = query.get(name)
    if value is not None and "\0" in value:
        raise invalid(name, "text cannot contain the character NUL")
    return value


def _boolean(query: QueryDict, name: str) -> bool | None:
    value = query.get(name)
    if value not in (None, "true", "false"):
        raise invalid(name, "use true or false")
    return None if value is None else value == "true"


def _labels(pairs: list[str]) -> dict[str, str]:
    if len(pairs) > MAX_LABELS:
        raise invalid("label", f"send at most {MAX_LABELS}")
    labels: dict[str, str] = {}
    for pair in pairs:
        name, sign, value = pair.partition("=")
        if not name or not sign or "\0" in pair:
            raise invalid("label", "use key=value")
        if labels.setdefault(name, value) != value:
            raise invalid("label", f"{name} cannot have two values")
    return labels


def build_query(criteria: Criteria) -> str:
    """Return the parameters for the same filters."""
    values: dict[str, Any] = {name: getattr(criteria, name) for name in PARAMETERS if name != "label"}
    pairs = {"label": [f"{name}={value}" for name, value in criteria.labels.items()]}
    for name, value in values.items():
        if value is not None:
            text = value.isoformat() if isinstance(value, datetime) else str(value)
            pairs[name] = [text.lower() if isinstance(value, bool) else text]
    return urlencode(pairs, doseq=True)
