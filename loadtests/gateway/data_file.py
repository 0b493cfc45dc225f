"""The SQLite file of a simulator, with what all of them store: events until they are sent, and the fault profile.

Every method is one synchronous step: on one event loop nothing runs between read and write.
"""

import json
import sqlite3
from pathlib import Path
from typing import Any
from uuid import uuid4

SHARED_SCHEMA = """
CREATE TABLE IF NOT EXISTS event (
    seq  INTEGER PRIMARY KEY,
    id   TEXT NOT NULL UNIQUE,
    body BLOB NOT NULL,
    sent INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX IF NOT EXISTS unsent_events ON event (seq) WHERE NOT sent;
CREATE TABLE IF NOT EXISTS profile (id INTEGER PRIMARY KEY CHECK (id = 1), fields TEXT NOT NULL) STRICT;
"""


def new_event_id() -> str:
    return f"evt_{uuid4().hex}"


class DataFile:
    """One process at a time holds the file."""

    def __init__(self, path: Path) -> None:
        """Open the file. Raise OSError or sqlite3.Error."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(path, isolation_level=None, timeout=1)
        self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")
        self._db.executescript(SHARED_SCHEMA)

    def close(self) -> None:
        self._db.close()

    def _insert_event(self, identifier: str, body: bytes) -> None:
        self._db.execute("INSERT INTO event (id, body) VALUES (?, ?)", (identifier, body))

    def unsent_events(self) -> list[tuple[str, bytes]]:
        return self._db.execute("SELECT id, body FROM event WHERE NOT sent ORDER BY seq LIMIT 100").fetchall()

    def mark_sent(self, identifier: str) -> None:
        self._db.execute("UPDATE event SET sent = 1 WHERE id = ?", (identifier,))

    def load_profile(self) -> dict[str, Any]:
        row = self._db.execute("SELECT fields FROM profile").fetchone()
        return json.loads(row[0]) if row else {}

    def save_profile(self, fields: dict[str, Any]) -> None:
        self._db.execute("INSERT OR REPLACE INTO profile VALUES (1, ?)", (json.dumps(fields),))
