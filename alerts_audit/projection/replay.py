"""Replay the inputs in order into temporary tables of the same names, with the code of the projector.

Memory contains a few hundred inputs at a time. The replay begins where the newest archive ends.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any

from alerts_audit.infinite_timestamps import CLAMPING_BINARY, TIMESTAMPTZ
from alerts_audit.projection.apply import apply_deliveries, apply_observation, replay_tick
from alerts_audit.projection.batch import Batch
from alerts_audit.projection.inputs import MAX_BYTES
from alerts_audit.projection.projector import format_error, is_poison
from alerts_audit.projection.rows import Evidence, Numbers
from alerts_audit.projection.store import Connection, write

MAX_INPUTS = 500

Progress = Callable[[int, int], Any]  # processed inputs, and their total

# The key and the name of each table. The copy has few indexes, because then it is written faster.
TABLES = {"identity": "id", "envelope": "delivery_id", "episode": "id", "transition": "id"}
COPIES = """
CREATE TEMP TABLE alerts_audit_identity (LIKE {schema}.alerts_audit_identity, PRIMARY KEY (id), UNIQUE (sha256));
CREATE TEMP TABLE alerts_audit_envelope (LIKE {schema}.alerts_audit_envelope, PRIMARY KEY (delivery_id));
CREATE TEMP TABLE alerts_audit_episode (LIKE {schema}.alerts_audit_episode, PRIMARY KEY (id));
CREATE INDEX ON alerts_audit_episode (identity_id, id DESC);
CREATE UNIQUE INDEX ON alerts_audit_episode (identity_id) WHERE state = 'firing';
CREATE TEMP TABLE alerts_audit_transition (LIKE {schema}.alerts_audit_transition, PRIMARY KEY (id))
"""
CARRIED = """
INSERT INTO pg_temp.alerts_audit_identity SELECT row.* FROM {schema}.alerts_audit_archive AS archive,
    jsonb_populate_recordset(NULL::pg_temp.alerts_audit_identity, carried->'identities') AS row
    WHERE archive.id = {archive};
INSERT INTO pg_temp.alerts_audit_episode SELECT row.* FROM {schema}.alerts_audit_archive AS archive,
    jsonb_populate_recordset(NULL::pg_temp.alerts_audit_episode, carried->'episodes') AS row
    WHERE archive.id = {archive}
"""
NEWEST_ARCHIVE = """
SELECT id, last_input, carried->'numbers' FROM alerts_audit_archive WHERE last_input <= %s ORDER BY id DESC LIMIT 1
"""
READ = """
WITH next AS (
    SELECT * FROM alerts_audit_input WHERE number > %s AND number <= %s ORDER BY number LIMIT %s
), measured AS (
    SELECT next.*, sum(coalesce(octet_length(delivery.body), 0)) OVER (ORDER BY number) AS bytes
    FROM next LEFT JOIN alerts_audit_delivery AS delivery ON delivery.id = next.delivery_id
)
SELECT measured.number, measured.kind, measured.at, measured.context, coalesce(delivery_id, observation_id),
    coalesce(delivery.source, observation.source), coalesce(delivery.body, observation.body),
    coalesce(delivery.size, octet_length(observation.body)), observation.kind
FROM measured LEFT JOIN alerts_audit_delivery AS delivery ON delivery.id = measured.delivery_id
    LEFT JOIN alerts_audit_observation AS observation ON observation.id = measured.observation_id
WHERE measured.bytes <= %s OR measured.number = (SELECT min(number) FROM next)
ORDER BY measured.number
"""


@dataclass(frozen=True)
class Step:
    """An input with its delivery or observation. `evidence` is None for a tick, or if the evidence is missing."""

    number: int
    kind: str
    at: Any
    context: dict[str, Any]
    evidence: Evidence | None


@dataclass
class Replay:
    """The replay of the inputs up to some number into the temporary tables of this connection."""

    connection: Connection
    schema: str
    numbers: Numbers
    carried: Numbers
    findings: list[str] = field(default_factory=list)
    _written: int = 0
    _analyzed: int = 1000

    def run(self, until: int, progress: Progress | None = None) -> None:
        total = until - self.carried.input
        while self.numbers.input < until:
            steps = self._read(until)
            if not steps:
                self.findings.append(f"input {until} is missing")
                self.numbers.input = until
            for group in groups(steps):
                self._note_missing(group)
                with self.connection.transaction():
                    self._use(group)
            self._keep_plans_good(len(steps))
            if progress is not None:
                progress(self.numbers.input - self.carried.input, total)

    def _read(self, until: int) -> list[Step]:
        values = [self.numbers.input, until, MAX_INPUTS, MAX_BYTES]
        with self.connection.cursor(binary=True) as cursor:
            cursor.adapters.register_loader(TIMESTAMPTZ, CLAMPING_BINARY)
            return [build_step(row) for row in cursor.execute(READ, values)]

    def _note_missing(self, group: Sequence[Step]) -> None:
        expected = self.numbers.input + 1
        for step in group:
            if step.number > expected:
                self.findings.append(f"inputs {expected} to {step.number - 1} are missing")
            if step.kind != "tick" and step.evidence is None:
                self.findings.append(f"input {step.number}: what it refers to, a {step.kind}, is missing")
            expected = step.number + 1

    def _use(self, group: Sequence[Step]) -> None:
        try:
            with self.connection.transaction():
                self._project(group)
        except Exception as error:
            if not is_poison(error):
                raise
            if len(group) == 1:
                self._set_aside(group[0], format_error(error))
                return
            for step in group:
                self._use([step])

    def _project(self, group: Sequence[Step]) -> None:
        batch = self._batch()
        first = group[0]
        if first.kind == "tick":
            replay_tick(self.connection, batch, first.number, first.at, first.context)
        elif first.kind == "observation" and first.evidence is not None:
            apply_observation(self.connection, batch, first.number, first.evidence)
        elif first.kind == "delivery":
            numbered = [(step.number, step.evidence) for step in group if step.evidence is not None]
            apply_deliveries(self.connection, batch, numbered)
        write(self.connection, batch)
        self.numbers = batch.numbers
        self.numbers.input = group[-1].number

    def _set_aside(self, step: Step, reason: str) -> None:
        batch = self._batch()
        if step.kind == "delivery" and step.evidence is not None:
            batch.apply_delivery(step.number, step.evidence, reason)
            write(self.connection, batch)
        self.numbers.input = step.number

    def _batch(self) -> Batch:
        """Apply a batch with its own numbers, so that a failed one has assigned none."""
        return Batch(replace(self.numbers))

    def _keep_plans_good(self, written: int) -> None:
        """Analyze the temporary tables, which no other process does."""
        self._written += written
        if self._written >= self._analyzed:
            self._analyzed *= 4
            for table in TABLES:
                self.connection.execute(f"ANALYZE pg_temp.alerts_audit_{table}")


def build_step(row: Sequence[Any]) -> Step:
    number, kind, at, context, ref, source, body, size, observes = row
    evidence = None
    if source is not None:
        evidence = Evidence(kind, ref, at, source, context.get("cluster", "main"), bytes(body), size, observes)
    return Step(number, kind, at, context, evidence)


def groups(steps: Sequence[Step]) -> Iterator[list[Step]]:
    """Yield consecutive deliveries together, and an observation or a tick alone."""
    for _, group in groupby(steps, key=lambda step: step.kind if step.kind == "delivery" else step.number):
        yield list(group)


def prepare(connection: Connection, until: int | None) -> Replay:
    """Create the temporary tables: empty, or with the state in the newest archive before that input."""
    [(schema,)] = connection.execute("SELECT current_schema()").fetchall()
    archive = connection.execute(NEWEST_ARCHIVE, [2**62 if until is None else until]).fetchone()
    connection.execute(COPIES.format(schema=schema))
    carried = Numbers(0, 0, 0, 0)
    if archive is not None:
        key, last, numbers = archive
        connection.execute(CARRIED.format(schema=schema, archive=int(key)))
        carried = Numbers(last, **numbers)
    return Replay(connection, schema, replace(carried), carried)
