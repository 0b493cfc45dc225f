"""Apply numbered inputs, in the same way for the projector and for a rebuild.

Each function loads the data of its inputs, and lets the batch decide the result.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
from django.conf import settings

from alerts_audit.projection import state_machine, store
from alerts_audit.projection.batch import Batch
from alerts_audit.projection.observations import Poll, read_observation, read_polls
from alerts_audit.projection.rows import Cause, Evidence, KnownIdentity, decode_evidence, identity_hashes
from alerts_audit.projection.store import Connection


def apply_deliveries(connection: Connection, batch: Batch, numbered: Sequence[tuple[int, Evidence]]) -> None:
    contents = [decode_evidence(evidence) for _, evidence in numbered]
    store.load(connection, batch, identity_hashes(contents))
    for (number, evidence), content in zip(numbered, contents, strict=True):
        batch.apply_delivery(number, evidence, content)


def apply_observation(connection: Connection, batch: Batch, number: int, evidence: Evidence) -> None:
    """Apply an observation: all alerts of one Alertmanager, and the open episodes that it no longer has."""
    if evidence.observes != "alertmanager":
        return
    seen = read_observation(evidence)
    store.load_open(connection, batch, store.OF_CLUSTER, evidence.cluster)
    store.load(connection, batch, seen)
    cause = Cause(number, evidence.at, evidence)
    nothing = state_machine.PollResult(evidence.source, evidence.at, False)
    for known in list(batch.known.values()):
        batch.apply_poll(cause, known, seen.get(known.sha256, nothing))
    store.inherit(connection, batch)


# --- Ticks -------------------------------------------------------------------------------------------------------


class Facts(msgspec.Struct, omit_defaults=True):
    """The results of polls about one identity when a tick gave it up."""

    known_at: datetime | None = None
    absent_since: datetime | None = None
    absent_until: datetime | None = None


class TickContext(msgspec.Struct):
    """The data that a tick used, stored with it: settings change, and polls without news leave no row."""

    stale_seconds: float
    unknown_seconds: float
    facts: dict[str, Facts]  # by the identity's SHA-256 in hexadecimal

    def build_tick(self, at: datetime, facts: Facts) -> state_machine.Tick:
        stale_after, unknown_after = timedelta(seconds=self.stale_seconds), timedelta(seconds=self.unknown_seconds)
        return state_machine.Tick(
            at, stale_after, unknown_after, facts.known_at, facts.absent_since, facts.absent_until
        )


def now(connection: Connection) -> datetime:
    row = connection.execute("SELECT now()", prepare=True).fetchone()
    assert row is not None
    return row[0]


def apply_tick(connection: Connection, batch: Batch, number: int, at: datetime) -> dict[str, Any] | None:
    """Give up the open episodes that are due. Return the data that the tick used, or None if there are none."""
    context = TickContext(settings.AUDIT_STALE_SECONDS, settings.AUDIT_UNKNOWN_SECONDS, {})
    patience = timedelta(seconds=min(context.stale_seconds, context.unknown_seconds))
    quiet = store.load_open(connection, batch, store.QUIET_SINCE, at - patience)
    if not quiet:
        return None
    polls = read_polls(connection)
    cause = Cause(number, at)
    for known, cluster in quiet:
        facts = get_facts(known, polls.get(cluster, {}))
        if batch.apply_tick(cause, known, context.build_tick(at, facts)):
            context.facts[known.sha256.hex()] = facts
    return msgspec.to_builtins(context) if context.facts else None


def replay_tick(connection: Connection, batch: Batch, number: int, at: datetime, kept: dict[str, Any]) -> None:
    """Repeat a tick in a rebuild, with the data that it used."""
    context = msgspec.convert(kept, TickContext)
    facts = {bytes.fromhex(name): facts for name, facts in context.facts.items()}
    store.load(connection, batch, facts)
    cause = Cause(number, at)
    # In the order of the tick itself, which JSON in PostgreSQL does not preserve.
    for known in sorted(batch.known.values(), key=lambda known: known.latest.id if known.latest else 0):
        batch.apply_tick(cause, known, context.build_tick(at, facts[known.sha256]))


def get_facts(known: KnownIdentity, polls: Mapping[str, Poll | None]) -> Facts:
    """Return the facts about an identity. `polls` has each source of its cluster: None if it was never polled."""
    assert known.latest is not None
    episode = known.latest.episode
    asked = [(source, poll) for source, poll in polls.items() if poll is not None]
    known_at = max((poll.until for _, poll in asked if known.sha256 in poll.alerts), default=None)
    if known_at is not None or not asked or len(asked) < len(polls):
        return Facts(known_at)
    since = max(
        episode.memory.absent.get(source) or max(poll.changed_at, episode.last_seen_at) for source, poll in asked
    )
    return Facts(None, since, min(poll.until for _, poll in asked))
