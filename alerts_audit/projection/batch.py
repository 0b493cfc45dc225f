"""Several inputs applied together, in memory, until the result is written at once."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import msgspec

from alerts_audit.payload import DecodedBody, decode
from alerts_audit.projection import decoding, state_machine
from alerts_audit.projection.decoding import Reading, Word

LONGEST_ERROR = 500


@dataclass(slots=True)
class Arrival:
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


class Record(msgspec.Struct, gc=False):
    """A row of the episodes."""

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
    """The fields of an episode from its first delivery. An episode reopened by an observation has those of the previous
    one.
    """

    input: int
    summary: str = ""
    annotations: dict[str, str] = {}
    generator_url: str = ""


class Known(msgspec.Struct, gc=False):
    """An identity and its latest episode."""

    id: int
    sha256: bytes
    latest: Record | None = None


@dataclass(slots=True)
class Numbers:
    """The last assigned number of each kind. All are dense."""

    input: int
    identity: int
    episode: int
    transition: int


@dataclass(slots=True)
class Cause:
    """The input in use, and its fields of a log line. `openings` counts the new episodes of each identity."""

    number: int
    at: datetime
    arrival: Arrival | None = None
    reading: Reading | None = None
    openings: dict[bytes, int] = field(default_factory=dict)


class Told(msgspec.Struct, gc=False):
    """A row of the transitions."""

    id: int
    cause: Cause
    record: Record
    from_state: str | None
    to_state: str
    note: str | None


@dataclass
class Batch:
    """A batch. `known` contains every identity that the inputs mention; the rest is the data to write."""

    numbers: Numbers
    known: dict[bytes, Known] = field(default_factory=dict)
    envelopes: list[dict[str, Any]] = field(default_factory=list)
    identities: list[tuple[int, str, Word]] = field(default_factory=list)
    changed: dict[int, Record] = field(default_factory=dict)
    told: list[Told] = field(default_factory=list)
    used: list[tuple[Arrival, Reading | str]] = field(default_factory=list)
    inputs: int = 0

    # --- deliveries

    def use_delivery(self, number: int, arrival: Arrival, content: Reading | str) -> None:
        """Apply a delivery. `content` is its payload, or the reason why it cannot be parsed."""
        self.used.append((arrival, content))
        if isinstance(content, str):
            self.envelopes.append(quarantined(number, arrival.ref, content))
            return
        cause = Cause(number, arrival.at, arrival, content)
        self.envelopes.append(envelope(number, arrival.ref, content))
        for word in content.words:
            known = self.known.get(word.identity) or self.introduce(word, arrival.cluster)
            latest = known.latest
            steps = state_machine.hear(latest.episode if latest else None, word.said)
            self.take(cause, known, steps, word)

    def introduce(self, word: Word, cluster: str) -> Known:
        """Add an identity without any earlier report."""
        self.numbers.identity += 1
        known = self.known[word.identity] = Known(self.numbers.identity, word.identity)
        self.identities.append((known.id, cluster, word))
        return known

    # --- observations and ticks

    def see(self, cause: Cause, known: Known, seen: state_machine.Seen) -> None:
        if known.latest is not None:
            self.take(cause, known, state_machine.see(known.latest.episode, seen))

    def tick(self, cause: Cause, known: Known, passed: state_machine.Tick) -> bool:
        """Apply a tick. Return True if the identity's open episode ends with it."""
        steps = state_machine.tick(known.latest.episode, passed) if known.latest is not None else []
        self.take(cause, known, steps)
        return bool(steps)

    # --- what follows

    def take(self, cause: Cause, known: Known, steps: Iterable[state_machine.Step], word: Word | None = None) -> None:
        for step in steps:
            if step.begins:
                known.latest = self.open(cause, known, step.episode, word)
            else:
                self.change(cause, known.latest, step, word)
            if step.to_state is not None:
                self.add_transition(cause, known.latest, step)

    def open(self, cause: Cause, known: Known, episode: state_machine.Episode, word: Word | None) -> Record:
        self.numbers.episode += 1
        opening = Opening(cause.number)
        if word is not None:
            opening = Opening(cause.number, word.summary, word.annotations, word.generator_url)
        record = Record(
            id=self.numbers.episode,
            key=self.key(cause, known.sha256),
            identity_id=known.id,
            episode=episode,
            alertname=word.alertname if word else known.latest.alertname if known.latest else "",
            severity=word.severity if word else known.latest.severity if known.latest else "",
            last_input=cause.number,
            deliveries=1 if word else 0,
            opening=opening,
        )
        self.changed[record.id] = record
        return record

    def change(self, cause: Cause, record: Record | None, step: state_machine.Step, word: Word | None) -> None:
        assert record is not None, "only a new episode comes out of nothing"
        record.episode = step.episode
        tells_of_it = word is not None and step.to_state != state_machine.SUPERSEDED
        if tells_of_it and record.last_input != cause.number:  # once, even if it occurs twice in one delivery
            record.deliveries += 1
        record.last_input = cause.number
        self.changed[record.id] = record

    def key(self, cause: Cause, identity: bytes) -> str:
        """Return the key of a new episode, derived from its identity and its first input, so that a rebuild finds it
        again.
        """
        place = cause.openings.get(identity, 0)  # one delivery may open two, one after the other
        cause.openings[identity] = place + 1
        digest = hashlib.sha256(b"%b %d %d" % (identity, cause.number, place)).hexdigest()
        # RFC 9562, version 8: a custom format.
        return f"{digest[:12]}8{digest[13:16]}{'89ab'[int(digest[16], 16) & 3]}{digest[17:32]}"

    def add_transition(self, cause: Cause, record: Record | None, step: state_machine.Step) -> None:
        assert record is not None
        assert step.to_state is not None
        self.numbers.transition += 1
        self.told.append(Told(self.numbers.transition, cause, record, step.from_state, step.to_state, step.note))


# --- Rows --------------------------------------------------------------------------------------------------------


def envelope(number: int, delivery_id: int, content: Reading) -> dict[str, Any]:
    webhook = content.webhook
    return {
        "delivery_id": delivery_id,
        "input_number": number,
        "error": None,
        "repaired": content.repaired,
        "version": webhook.version,
        "receiver": content.receiver,
        "status": webhook.status,
        "group_key": webhook.group_key,
        "external_url": webhook.external_url,
        "notification_reason": webhook.notification_reason or None,
        "alerts": len(content.words),
        "truncated": content.truncated,
        "alertnames": content.alertnames,
    }


def quarantined(number: int, delivery_id: int, error: str) -> dict[str, Any]:
    error = error.replace("\0", "\N{REPLACEMENT CHARACTER}")[:LONGEST_ERROR]
    return {"delivery_id": delivery_id, "input_number": number, "error": error, "alerts": 0, "truncated": 0} | {
        "alertnames": []
    }


# --- Inputs read ---------------------------------------------------------------------------------------------------


def understand(arrival: Arrival) -> Reading | str:
    """Decode a delivery, or return the reason why it cannot be parsed."""
    if arrival.is_part:
        return f"truncated: only {len(arrival.body)} of {arrival.size} bytes were kept"
    decoded = arrival.decoded or decode(arrival.body)
    if decoded.payload is None:
        return decoded.error or ""
    return decoding.read(
        decoded.payload, decoded.repairs, source=arrival.source, cluster=arrival.cluster, at=arrival.at
    )


def hashes(contents: Iterable[Reading | str]) -> Iterator[bytes]:
    """Yield the hashes of all identities that these deliveries mention."""
    for content in contents:
        if not isinstance(content, str):
            for word in content.words:
                yield word.identity
