"""The canonical form of a row of evidence: the bytes that are hashed. Never change it: a new form gets a new version.

The bytes are JSON (`standalone.encode`) of {"leaf": kind, "version": 1, "row": {column: value}}:

* a time is UTC with microseconds, `2026-11-22T16:57:14.123456Z`
* bytes and hashes are hexadecimal; a body is represented by its SHA-256
* a jsonb column is PostgreSQL's text of it, so number formats of programs do not matter
* NULL is null, a UUID its usual text
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any
from uuid import UUID

from alerts_audit.models import Archive, Delivery, Gap, Input, Leaf, Observation, Review, View
from alerts_audit.seal.standalone import encode, leaf_hash
from fintech.evidence import SEALED

VERSION = 1


@dataclass(frozen=True)
class Kind:
    """A table of evidence. `fields` are its columns except the body, the key first; `at` has the time of writing."""

    name: str
    table: str
    fields: str
    at: str = "at"
    json: frozenset[str] = frozenset()
    body: str | None = None

    @cached_property
    def columns(self) -> list[str]:
        return self.fields.split()

    @property
    def key(self) -> str:
        return self.columns[0]

    @property
    def select(self) -> str:
        return ", ".join(f'"{name}"::text' if name in self.json else f'"{name}"' for name in self.columns)

    @property
    def unsealed(self) -> str:
        """Return FROM for rows above `above` without a leaf. Both sides begin there, so old rows are never read."""
        return (
            f"FROM {self.table} AS evidence WHERE {self.key} > %(above)s AND NOT EXISTS ("
            f"SELECT FROM {Leaf._meta.db_table} AS leaf"
            f" WHERE leaf.kind = %(kind)s AND leaf.ref = evidence.{self.key} AND leaf.ref > %(above)s)"
        )

    def document(self, values: Sequence[Any]) -> dict[str, Any]:
        row = {name: plain(value) for name, value in zip(self.columns, values, strict=True)}
        return {"leaf": self.name, "version": VERSION, "row": row}

    def hash(self, values: Sequence[Any]) -> bytes:
        return leaf_hash(encode(self.document(values)))


_KINDS = [
    Kind(
        Leaf.Kind.DELIVERY.value,
        Delivery._meta.db_table,
        "id received_at source content_type content_encoding sha256 size kept_sha256 request_id trace_id",
        at="received_at",
        body="body",
    ),
    Kind(
        Leaf.Kind.OBSERVATION.value,
        Observation._meta.db_table,
        "id source kind observed_at sha256",
        at="observed_at",
        body="body",
    ),
    Kind(
        Leaf.Kind.INPUT.value,
        Input._meta.db_table,
        "number kind delivery_id observation_id at context",
        json=frozenset({"context"}),
    ),
    Kind(Leaf.Kind.REVIEW.value, Review._meta.db_table, "id episode_key kind text author author_id at"),
    Kind(
        Leaf.Kind.GAP.value,
        Gap._meta.db_table,
        "id closes_id reason subject source labels since until details delivery_id observation_id at",
        json=frozenset({"labels", "details"}),
    ),
    Kind(Leaf.Kind.VIEW.value, View._meta.db_table, "id user user_id what key at request_id"),
    Kind(
        Leaf.Kind.ARCHIVE.value,
        Archive._meta.db_table,
        "id first_leaf end_leaf last_input file_name file_sha256 carried kept by at",
        json=frozenset({"carried", "kept"}),
    ),
    *(Kind(one.name, one.table, one.fields, json=one.json) for one in SEALED),
]
KINDS = {kind.name: kind for kind in _KINDS}


def plain(value: Any) -> Any:
    match value:
        case None | str() | int():
            return value
        case datetime():
            return utc_text(value)
        case bytes() | memoryview():
            return value.hex()
        case UUID():
            return str(value)
    raise TypeError(f"{type(value).__name__} has no form")


def utc_text(time: datetime) -> str:
    return time.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
