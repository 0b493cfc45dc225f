"""The tables of the projection: read the state for a batch, and write its result, in few statements.

Table names have no schema: a rebuild creates temporary tables of the same names, which this code then uses.
"""

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any

import msgspec
import orjson
import psycopg

from alerts_audit.projection.batch import Batch
from alerts_audit.projection.decoding import DecodedAlert
from alerts_audit.projection.rows import EpisodeRow, KnownIdentity, Numbers, Opening, TransitionRow
from alerts_audit.projection.state_machine import Episode, Memory

Connection = psycopg.Connection[Any]

STATE = """
    identity.id, identity.sha256, episode.id, episode.key, episode.state, episode.starts_at, episode.ends_at,
    episode.opened_at, episode.closed_at, episode.last_seen_at, episode.memory::text, episode.alertname,
    episode.severity, episode.last_input, episode.deliveries
"""
LOAD = f"""
SELECT {STATE}
FROM alerts_audit_identity AS identity
LEFT JOIN LATERAL (
    SELECT * FROM alerts_audit_episode WHERE identity_id = identity.id ORDER BY id DESC LIMIT 1
) AS episode ON true
WHERE identity.sha256 IN (
    SELECT substring(%(hashes)s FROM place * 32 + 1 FOR 32) FROM generate_series(0, %(count)s - 1) AS place
)
"""  # noqa: S608 - columns of our own
LOAD_OPEN = f"""
SELECT {STATE}, identity.cluster
FROM alerts_audit_episode AS episode JOIN alerts_audit_identity AS identity ON identity.id = episode.identity_id
WHERE episode.state = 'firing'
"""  # noqa: S608 - columns of our own
OF_CLUSTER = " AND identity.cluster = %s"
LATEST_TEXTS = """
SELECT DISTINCT ON (identity_id) identity_id, summary, annotations, generator_url
FROM alerts_audit_episode WHERE identity_id = ANY(%s) ORDER BY identity_id, id DESC
"""
QUIET_SINCE = " AND episode.last_seen_at <= %s"

LAST_NUMBERS = """
SELECT coalesce((SELECT max(id) FROM alerts_audit_identity), 0),
    coalesce((SELECT max(id) FROM alerts_audit_episode), 0),
    coalesce((SELECT max(id) FROM alerts_audit_transition), 0)
"""

ENVELOPES = """
INSERT INTO alerts_audit_envelope (delivery_id, input_number, error, repaired, version, receiver, status, group_key,
    external_url, notification_reason, alerts, truncated, alertnames)
SELECT * FROM json_to_recordset(%s::json) AS row(delivery_id bigint, input_number bigint, error text, repaired text,
    version text, receiver text, status text, group_key text, external_url text, notification_reason text, alerts int,
    truncated int, alertnames jsonb)
"""
IDENTITIES = "COPY alerts_audit_identity (id, sha256, cluster, labels, alertname, severity, fingerprint) FROM STDIN"
EPISODES = """
COPY alerts_audit_episode (id, key, identity_id, state, alertname, severity, summary, annotations, generator_url,
    starts_at, ends_at, opened_at, closed_at, last_seen_at, opened_input, last_input, deliveries, memory) FROM STDIN
"""
TRANSITIONS = """
COPY alerts_audit_transition (id, episode_id, input_number, from_state, to_state, at, source, delivery_id, note)
FROM STDIN
"""
CHANGES = """
UPDATE alerts_audit_episode AS episode
SET state = row.state, starts_at = row.starts_at, ends_at = row.ends_at, closed_at = row.closed_at,
    last_seen_at = row.last_seen_at, last_input = row.last_input, deliveries = row.deliveries, memory = row.memory
FROM json_to_recordset(%s::json) AS row(id bigint, state text, starts_at timestamptz, ends_at timestamptz,
    closed_at timestamptz, last_seen_at timestamptz, last_input bigint, deliveries int, memory jsonb)
WHERE episode.id = row.id
"""

_memory_decoder = msgspec.json.Decoder(Memory)
_memory_encoder = msgspec.json.Encoder()


def last_numbers(connection: Connection, last_input: int) -> Numbers:
    row = connection.execute(LAST_NUMBERS).fetchone()
    assert row is not None
    return Numbers(last_input, *row)


def load(connection: Connection, batch: Batch, hashes: Iterable[bytes]) -> None:
    """Load the known identities, each with its latest episode."""
    wanted = set(hashes) - batch.known.keys()
    if wanted:  # one value instead of an array of thousands, which takes longer to build than to look up
        values = {"hashes": b"".join(wanted), "count": len(wanted)}
        for row in connection.execute(LOAD, values, prepare=True, binary=True):
            known = build_known(row)
            batch.known[known.sha256] = known


def load_open(connection: Connection, batch: Batch, condition: str, *values: Any) -> list[tuple[KnownIdentity, str]]:
    """Load the identities with an open episode that meets the condition, and their clusters."""
    found = []
    for row in connection.execute(LOAD_OPEN + condition + " ORDER BY episode.id", values, binary=True):
        known = build_known(row)
        found.append((batch.known.setdefault(known.sha256, known), row[-1]))
    return found


def inherit(connection: Connection, batch: Batch) -> None:
    """Copy the texts of the stored previous episode, for episodes that no delivery opened."""
    opened = {row.identity_id: row.opening for row in batch.changed.values() if row.opening is not None}
    if opened:
        for identity_id, *texts in connection.execute(LATEST_TEXTS, [list(opened)]):
            opened[identity_id].summary, opened[identity_id].annotations, opened[identity_id].generator_url = texts


def build_known(row: Sequence[Any]) -> KnownIdentity:
    identity_id, sha256, episode_id, key, state, starts_at, ends_at, opened_at, closed_at, last_seen_at = row[:10]
    known = KnownIdentity(identity_id, bytes(sha256))
    if episode_id is not None:
        memory = _memory_decoder.decode(row[10])
        episode = Episode(state, starts_at, ends_at, opened_at, closed_at, last_seen_at, memory)
        known.latest = EpisodeRow(episode_id, key.hex, identity_id, episode, *row[11:15])
    return known


def write(connection: Connection, batch: Batch) -> None:
    """Write everything in a few statements. Ends come before beginnings, because an identity has one open episode."""
    rows = batch.changed.values()
    changes = [change_row(row) for row in rows if row.opening is None]
    for statement, contents in ((ENVELOPES, batch.envelopes), (CHANGES, changes)):
        if contents:
            connection.execute(statement, [encode(contents)], prepare=True)
    copy(connection, IDENTITIES, (identity_row(*identity) for identity in batch.identities))
    copy(connection, EPISODES, (episode_row(row, row.opening) for row in rows if row.opening))
    copy(connection, TRANSITIONS, map(transition_row, batch.transitions))


def copy(connection: Connection, statement: str, rows: Iterable[tuple[Any, ...]]) -> None:
    """Write thousands of rows fast: PostgreSQL stores some while the next ones are written."""
    first = next(rows := iter(rows), None)
    if first is None:
        return
    with connection.cursor().copy(statement) as target:
        for row in chain([first], rows):
            target.write_row(row)


def encode(rows: Any) -> str:
    return orjson.dumps(rows).decode()


# --- Rows ---------------------------------------------------------------------------------------------------------


def identity_row(key: int, cluster: str, alert: DecodedAlert) -> tuple[Any, ...]:
    labels = encode(alert.labels)
    return (key, alert.identity, cluster, labels, alert.alertname, alert.severity, alert.fingerprint)


def episode_row(row: EpisodeRow, opening: Opening) -> tuple[Any, ...]:
    episode = row.episode
    names = (row.id, row.key, row.identity_id, episode.state, row.alertname, row.severity)
    texts = (opening.summary, encode(opening.annotations), opening.generator_url)
    times = (episode.starts_at, episode.ends_at, episode.opened_at, episode.closed_at, episode.last_seen_at)
    memory = _memory_encoder.encode(episode.memory).decode()
    return (*names, *texts, *times, opening.input, row.last_input, row.deliveries, memory)


def transition_row(transition: TransitionRow) -> tuple[Any, ...]:
    cause, evidence = transition.cause, transition.cause.evidence
    delivery_id = evidence.ref if evidence is not None and evidence.kind == "delivery" else None
    source = evidence.source if evidence is not None else None
    states = (transition.from_state, transition.to_state)
    return (transition.id, transition.row.id, cause.number, *states, cause.at, source, delivery_id, transition.note)


def change_row(row: EpisodeRow) -> dict[str, Any]:
    episode = row.episode
    return {
        "id": row.id,
        "state": episode.state,
        "starts_at": episode.starts_at,
        "ends_at": episode.ends_at,
        "closed_at": episode.closed_at,
        "last_seen_at": episode.last_seen_at,
        "last_input": row.last_input,
        "deliveries": row.deliveries,
        "memory": orjson.Fragment(_memory_encoder.encode(episode.memory)),
    }
