"""Hashes of projection rows that outlive their archived inputs, so that later edits are detected.

An archive takes the inputs and leaves envelopes, transitions and episodes. These rows cannot change any more, except an
identity's latest episode, with which the next rebuild begins. So the archive's row, which is sealed, contains a SHA-256
of every thousand of them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from alerts_audit.models import Envelope, Episode, Transition
from alerts_audit.projection.rows import Numbers
from alerts_audit.projection.store import Connection

GROUP = 1000  # keys

HASHES = """
SELECT ({key} / {group})::text, encode(sha256(string_agg(
    sha256(convert_to(jsonb_build_array({columns})::text, 'UTF8')), ''::bytea ORDER BY {key})), 'hex')
FROM {prefix}alerts_audit_{table} AS row WHERE {among} GROUP BY 1
"""
AMONG = {
    "envelope": "input_number > %(input)s AND input_number <= %(last_input)s",
    "transition": "id > %(transition)s AND id <= %(last_transition)s",
    "episode": "(id > %(episode)s AND id <= %(last_episode)s OR id IN (SELECT unnest(%(carried_before)s::bigint[])))"
    " AND id NOT IN (SELECT unnest(%(carried_after)s::bigint[]))",
}
KEYS = {"envelope": "delivery_id", "transition": "id", "episode": "id"}
COLUMNS = {
    str(model._meta.model_name): [str(field.column) for field in model._meta.concrete_fields]
    for model in (Envelope, Transition, Episode)
}
ARCHIVES = """
SELECT id, last_input, carried->'numbers', jsonb_path_query_array(carried, '$.episodes[*].id'), carried->'left'
FROM alerts_audit_archive ORDER BY id
"""

Hashes = dict[str, Any]  # by table: its columns, and the SHA-256 of each group


@dataclass(frozen=True)
class Span:
    """The rows between the last numbers of two successive archives, and the episodes that either archive carries on."""

    before: Numbers
    last: Numbers
    carried_before: Sequence[int]
    carried_after: Sequence[int]

    def values(self) -> dict[str, Any]:
        names = ("input", "transition", "episode")
        lists = {"carried_before": list(self.carried_before), "carried_after": list(self.carried_after)}
        numbers = {name: getattr(self.before, name) for name in names}
        return lists | numbers | {f"last_{name}": getattr(self.last, name) for name in names}


def hashes(connection: Connection, prefix: str, span: Span, columns: dict[str, list[str]]) -> Hashes:
    """Return the hashes of the rows. `prefix` is the schema of the tables."""
    found = {}
    for table in AMONG:
        rows = connection.execute(statement(prefix, table, columns[table]), span.values())
        found[table] = {"columns": columns[table], "groups": dict(rows.fetchall())}
    return found


def statement(prefix: str, table: str, columns: Sequence[str]) -> str:
    names = ", ".join(f'row."{name}"' for name in columns)
    return HASHES.format(prefix=prefix, table=table, key=KEYS[table], group=GROUP, columns=names, among=AMONG[table])


def changed(connection: Connection, schema: str) -> Iterator[str]:
    """Yield a line for each thousand rows that differ from their archive, if that has such hashes."""
    before, carried_before = Numbers(0, 0, 0, 0), list[int]()
    for key, last_input, numbers, carried_after, left in connection.execute(ARCHIVES).fetchall():
        last = Numbers(last_input, **numbers)
        if left is not None:
            # Later columns are in no hash. An unknown column must not become SQL, because the row may be tampered with.
            columns = {table: [name for name in left[table]["columns"] if name in COLUMNS[table]] for table in AMONG}
            for line in differences(
                left, hashes(connection, f"{schema}.", Span(before, last, carried_before, carried_after), columns)
            ):
                yield f"{line} differ from what archive {key} recorded"
        before, carried_before = last, carried_after


def differences(kept: Hashes, found: Hashes) -> Iterator[str]:
    for table in AMONG:
        kept_groups, found_groups = kept[table]["groups"], found[table]["groups"]
        for group in sorted(kept_groups.keys() | found_groups.keys(), key=int):
            if kept_groups.get(group) != found_groups.get(group):
                what = "envelopes of deliveries" if table == "envelope" else f"{table}s"
                yield f"{what} among {int(group) * GROUP} to {int(group) * GROUP + GROUP - 1}"
