"""The inputs of a batch, as they are read, and the rows that it writes."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import msgspec

from alerts_audit.payload import DecodedBody, decode
from alerts_audit.projection import decoding, state_machine
from alerts_audit.projection.decoding import Update

MAX_ERROR = 500


@dataclass(slots=True)
class Evidence:
    """A delivery or an observation to apply, or already applied."""

    kind: str
    ref: int
    at: datetime
    source: str
    cluster: str
    body: bytes
    size: int
    observes: str | None = None  # an observation's own kind
    sha256: bytes = b""
    trace_id: str | None = None
    decoded: DecodedBody | None = None  # where this process has decoded the body already

    def __post_init__(self) -> None:
        self.at = self.at.astimezone(UTC)  # the driver's time zone takes ten times as long to format

    @property
    def is_part(self) -> bool:
        return self.size > len(self.body)


class EpisodeRow(msgspec.Struct, gc=False):
    id: int
    key: str  # a UUID in hexadecimal
    identity_id: int
    episode: state_machine.Episode
    alertname: str
    severity: str
    last_input: int
    deliveries: int
    opening: "Opening | None" = None  # of one that is new


class Opening(msgspec.Struct, gc=False):
    """The fields of an episode from its first delivery, or else from the previous episode."""

    input: int
    summary: str = ""
    annotations: dict[str, str] = {}
    generator_url: str = ""


class KnownIdentity(msgspec.Struct, gc=False):
    """An identity and its latest episode."""

    id: int
    sha256: bytes
    latest: EpisodeRow | None = None


@dataclass(slots=True)
class Numbers:
    """The last assigned number of each kind. Numbers have no holes."""

    input: int
    identity: int
    episode: int
    transition: int


@dataclass(slots=True)
class Cause:
    """The input in use, with its fields for log lines. `openings` counts the new episodes of each identity."""

    number: int
    at: datetime
    evidence: Evidence | None = None
    update: Update | None = None
    openings: dict[bytes, int] = field(default_factory=dict)


class TransitionRow(msgspec.Struct, gc=False):
    id: int
    cause: Cause
    row: EpisodeRow
    from_state: str | None
    to_state: str
    note: str | None


def envelope(number: int, delivery_id: int, content: Update) -> dict[str, Any]:
    payload = content.payload
    return {
        "delivery_id": delivery_id,
        "input_number": number,
        "error": None,
        "repaired": content.repaired,
        "version": payload.version,
        "receiver": content.receiver,
        "status": payload.status,
        "group_key": payload.group_key,
        "external_url": payload.external_url,
        "notification_reason": payload.notification_reason or None,
        "alerts": len(content.alerts),
        "truncated": content.truncated,
        "alertnames": content.alertnames,
    }


def quarantined(number: int, delivery_id: int, error: str) -> dict[str, Any]:
    error = error.replace("\0", "\N{REPLACEMENT CHARACTER}")[:MAX_ERROR]
    return {"delivery_id": delivery_id, "input_number": number, "error": error, "alerts": 0, "truncated": 0} | {
        "alertnames": []
    }


def decode_evidence(evidence: Evidence) -> Update | str:
    """Decode a delivery, or return the reason why it cannot be parsed."""
    if evidence.is_part:
        return f"truncated: only {len(evidence.body)} of {evidence.size} bytes were kept"
    decoded = evidence.decoded or decode(evidence.body)
    if decoded.payload is None:
        return decoded.error or ""
    return decoding.read(
        decoded.payload, decoded.repairs, source=evidence.source, cluster=evidence.cluster, at=evidence.at
    )


def identity_hashes(contents: Iterable[Update | str]) -> Iterator[bytes]:
    """Yield the hashes of all identities that these deliveries mention."""
    for content in contents:
        if not isinstance(content, str):
            for alert in content.alerts:
                yield alert.identity
