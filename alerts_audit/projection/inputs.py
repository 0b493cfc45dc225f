"""The queue of pending inputs: fetch the next ones, number them, and store them as inputs."""

from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import Any

from alerts_audit.infinite_timestamps import CLAMPING_BINARY, TIMESTAMPTZ
from alerts_audit.projection import store
from alerts_audit.projection.batch import Batch
from alerts_audit.projection.rows import Evidence
from alerts_audit.projection.store import Connection

MAX_BYTES = 4 * 1024 * 1024

# Without entries whose row is missing, which would block later ones; `diff_rebuild` reports them. No EXISTS, for which
# PostgreSQL may first read the whole other table.
NEXT_PENDING = """
WITH next AS (
    SELECT id, kind, ref, at FROM alerts_audit_pending
    WHERE CASE kind
        WHEN 'delivery' THEN (SELECT true FROM alerts_audit_delivery WHERE id = ref LIMIT 1)
        ELSE (SELECT true FROM alerts_audit_observation WHERE id = ref LIMIT 1)
    END
    ORDER BY id LIMIT %s
), measured AS (
    SELECT next.*, row_number() OVER earlier AS place,
        sum(coalesce(octet_length(delivery.body), 0)) OVER earlier AS bytes
    FROM next LEFT JOIN alerts_audit_delivery AS delivery ON next.kind = 'delivery' AND delivery.id = next.ref
    WINDOW earlier AS (ORDER BY next.id)
)
SELECT measured.kind, measured.ref, measured.at, row.source, coalesce(source.cluster, 'main'), row.body, row.size,
    row.observes, row.sha256, row.trace_id
FROM measured CROSS JOIN LATERAL (
    SELECT source, body, size, NULL AS observes, sha256, trace_id FROM alerts_audit_delivery
    WHERE measured.kind = 'delivery' AND id = measured.ref
    UNION ALL
    SELECT source, body, octet_length(body), kind, sha256, NULL FROM alerts_audit_observation
    WHERE measured.kind = 'observation' AND id = measured.ref
) AS row LEFT JOIN alerts_audit_source AS source ON source.name = row.source
WHERE measured.place = 1 OR measured.bytes <= %s
ORDER BY measured.id
"""
LAST_INPUT = """
SELECT greatest((SELECT max(number) FROM alerts_audit_input), (SELECT max(last_input) FROM alerts_audit_archive), 0)
"""
INPUTS = """
INSERT INTO alerts_audit_input (number, kind, delivery_id, observation_id, at, context)
SELECT * FROM json_to_recordset(%s::json) AS row(number bigint, kind text, delivery_id bigint, observation_id bigint,
    at timestamptz, context jsonb)
"""
DEQUEUE = "DELETE FROM alerts_audit_pending WHERE kind = %s AND ref = ANY(%s)"


def fetch_pending(connection: Connection, limit: int) -> Sequence[Evidence]:
    with connection.cursor(binary=True) as cursor:
        cursor.adapters.register_loader(TIMESTAMPTZ, CLAMPING_BINARY)
        pending = [Evidence(*row) for row in cursor.execute(NEXT_PENDING, [limit, MAX_BYTES], prepare=True)]
    if pending and pending[0].kind == "observation":
        return pending[:1]
    return list(takewhile(lambda evidence: evidence.kind == "delivery", pending))


def begin_batch(connection: Connection) -> Batch:
    row = connection.execute(LAST_INPUT, prepare=True).fetchone()
    assert row is not None
    return Batch(store.last_numbers(connection, row[0]))


def number_inputs(connection: Connection, batch: Batch, pending: Sequence[Evidence]) -> list[tuple[int, Evidence]]:
    """Assign the next number to each and remove it from the pending ones."""
    first = batch.numbers.input + 1
    rows = [
        {
            "number": number,
            "kind": evidence.kind,
            f"{evidence.kind}_id": evidence.ref,
            "at": evidence.at,
            "context": {"cluster": evidence.cluster},
        }
        for number, evidence in enumerate(pending, first)
    ]
    store_inputs(connection, rows)
    connection.execute(DEQUEUE, [pending[0].kind, [evidence.ref for evidence in pending]], prepare=True)
    batch.inputs = len(rows)
    batch.numbers.input += len(rows)
    return list(enumerate(pending, first))


def store_inputs(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    connection.execute(INPUTS, [store.encode(rows)], prepare=True)
