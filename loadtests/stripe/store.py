"""The fake's file: objects, the results by idempotency key, and the events. SQLite, one process."""

import sqlite3
from pathlib import Path
from typing import Any
from uuid import uuid4

import orjson

SCHEMA = """
CREATE TABLE IF NOT EXISTS object (
    seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, kind TEXT NOT NULL, body BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS result (
    key TEXT PRIMARY KEY, request TEXT NOT NULL, status INTEGER NOT NULL, body BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS attempt (key TEXT PRIMARY KEY) STRICT;
CREATE TABLE IF NOT EXISTS event (
    seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, body BLOB NOT NULL, sent INTEGER NOT NULL DEFAULT 0) STRICT;
CREATE TABLE IF NOT EXISTS profile (id INTEGER PRIMARY KEY CHECK (id = 1), fields BLOB NOT NULL) STRICT;
"""

Object = dict[str, Any]


class Store:
    """Every method is one synchronous step: on one event loop nothing runs between read and write."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(path, isolation_level=None, timeout=1)
        self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.executescript(SCHEMA)

    def close(self) -> None:
        self._db.close()

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

    def begin(self) -> None:
        self._db.execute("BEGIN IMMEDIATE")

    def commit(self) -> None:
        self._db.execute("COMMIT")

    def first_attempt(self, key: str) -> bool:
        """Return True once per key, also across restarts."""
        return self._db.execute("INSERT INTO attempt VALUES (?) ON CONFLICT DO NOTHING", (key,)).rowcount == 1

    def add_event(self, event_type: str, item: Object, created: int) -> None:
        identifier = f"evt_{uuid4().hex}"
        event = {"id": identifier, "object": "event", "type": event_type, "created": created, "data": {"object": item}}
        self._db.execute("INSERT INTO event (id, body) VALUES (?, ?)", (identifier, orjson.dumps(event)))

    def unsent_events(self, limit: int = 100) -> list[tuple[str, bytes]]:
        return self._db.execute("SELECT id, body FROM event WHERE NOT sent ORDER BY seq LIMIT ?", (limit,)).fetchall()

    def mark_sent(self, identifier: str) -> None:
        self._db.execute("UPDATE event SET sent = 1 WHERE id = ?", (identifier,))

    def load_profile(self) -> dict[str, Any]:
        row = self._db.execute("SELECT fields FROM profile").fetchone()
        return orjson.loads(row[0]) if row else {}

    def save_profile(self, fields: dict[str, Any]) -> None:
        self._db.execute("INSERT OR REPLACE INTO profile VALUES (1, ?)", (orjson.dumps(fields),))
