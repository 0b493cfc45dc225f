"""The fake's file: objects, the results by idempotency key, and the events."""

from pathlib import Path
from typing import Any

import orjson

from loadtests.gateway.data_file import DataFile, new_event_id

SCHEMA = """
CREATE TABLE IF NOT EXISTS object (
    seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, kind TEXT NOT NULL, body BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS result (
    key TEXT PRIMARY KEY, request TEXT NOT NULL, status INTEGER NOT NULL, body BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS attempt (key TEXT PRIMARY KEY) STRICT;
"""

Object = dict[str, Any]


class Store(DataFile):
    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._db.executescript(SCHEMA)

    def save(self, item: Object) -> None:
        statement = """INSERT INTO object (id, kind, body) VALUES (?, ?, ?)
                       ON CONFLICT (id) DO UPDATE SET body = excluded.body"""
        self._db.execute(statement, (item["id"], item["object"], orjson.dumps(item)))

    def find(self, identifier: str) -> Object | None:
        row = self._db.execute("SELECT body FROM object WHERE id = ?", (identifier,)).fetchone()
        return orjson.loads(row[0]) if row else None

    def newest(self, kind: str, *, before: str | None = None, limit: int = -1) -> list[Object]:
        """Return objects of a kind, newest first, starting after `before`."""
        rows = self._db.execute(
            """SELECT body FROM object WHERE kind = ?
               AND seq < coalesce((SELECT seq FROM object WHERE id = ?), 9e18) ORDER BY seq DESC LIMIT ?""",
            (kind, before, limit),
        )
        return [orjson.loads(body) for (body,) in rows]

    def find_result(self, key: str) -> tuple[str, int, bytes] | None:
        return self._db.execute("SELECT request, status, body FROM result WHERE key = ?", (key,)).fetchone()

    def save_result(self, key: str, request: str, status: int, body: bytes) -> None:
        self._db.execute("INSERT INTO result VALUES (?, ?, ?, ?)", (key, request, status, body))

    def forget_results(self) -> None:
        self._db.execute("DELETE FROM result")

    def events_after(self, seq: int) -> list[Object]:
        rows = self._db.execute("SELECT seq, body FROM event WHERE seq > ? ORDER BY seq", (seq,))
        return [{"seq": seq, "event": orjson.loads(body)} for seq, body in rows]

    def begin(self) -> None:
        self._db.execute("BEGIN IMMEDIATE")

    def commit(self) -> None:
        self._db.execute("COMMIT")

    def first_attempt(self, key: str) -> bool:
        """Return True once per key, also across restarts."""
        return self._db.execute("INSERT INTO attempt VALUES (?) ON CONFLICT DO NOTHING", (key,)).rowcount == 1

    def add_event(self, event_type: str, item: Object, created: int) -> None:
        identifier = new_event_id()
        event = {"id": identifier, "object": "event", "type": event_type, "created": created, "data": {"object": item}}
        self._insert_event(identifier, orjson.dumps(event))
