"""The state of the gateway in one SQLite file: one decision per key, never changed, and the fault profile.

Each decision is committed before it is answered (write-ahead log, synchronous=NORMAL: a killed process loses nothing; a
power failure may lose the last moments). One process at a time holds the file.
"""

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

from loadtests.gateway.authentication import Authentication
from loadtests.gateway.data_file import DataFile, new_event_id

# The kinds of operations that move money. The others, authorization and void, hold and release it.
MONEY = "('charge', 'capture', 'refund', 'dispute', 'dispute_return')"

SCHEMA = f"""
CREATE TABLE IF NOT EXISTS decision (
    seq       INTEGER PRIMARY KEY,
    kind      TEXT NOT NULL CHECK (kind IN (
        'charge', 'authorization', 'capture', 'void', 'refund', 'dispute', 'dispute_return')),
    key       TEXT NOT NULL,
    outcome   TEXT NOT NULL CHECK (outcome IN ('approved', 'declined', 'cancelled')),
    code      TEXT,
    charge    TEXT,
    amount    INTEGER CHECK (amount > 0),
    currency  TEXT,
    reference TEXT,
    final     INTEGER,
    at        TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    UNIQUE (kind, key),
    CHECK ((outcome = 'declined') = (code IS NOT NULL)),
    CHECK ((outcome = 'approved') = (reference IS NOT NULL)),
    CHECK ((outcome = 'cancelled') = (amount IS NULL)),
    CHECK ((amount IS NULL) = (currency IS NULL)),
    CHECK ((kind IN ('capture', 'void', 'refund', 'dispute', 'dispute_return') AND outcome <> 'cancelled')
        = (charge IS NOT NULL)),
    CHECK ((kind = 'capture' AND outcome <> 'cancelled') = (final IS NOT NULL))
) STRICT;

CREATE INDEX IF NOT EXISTS refunds_of_a_charge ON decision (charge)
WHERE kind = 'refund' AND outcome = 'approved';

CREATE INDEX IF NOT EXISTS operations_of_an_authorization ON decision (charge)
WHERE kind IN ('capture', 'void') AND outcome = 'approved';

CREATE TABLE IF NOT EXISTS total (
    currency TEXT NOT NULL,
    kind     TEXT NOT NULL,
    amount   INTEGER NOT NULL,
    count    INTEGER NOT NULL,
    PRIMARY KEY (currency, kind)
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS attempt (kind TEXT NOT NULL, key TEXT NOT NULL, PRIMARY KEY (kind, key)) STRICT;
CREATE TABLE IF NOT EXISTS dispute (
    id         TEXT PRIMARY KEY,
    charge     TEXT NOT NULL,
    charged_at TEXT NOT NULL,
    amount     INTEGER NOT NULL,
    currency   TEXT NOT NULL,
    fee        INTEGER NOT NULL,
    reason     TEXT NOT NULL,
    state      TEXT NOT NULL,
    sequence   INTEGER NOT NULL,
    due        TEXT
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS disputes_of_a_charge ON dispute (charge);
CREATE TABLE IF NOT EXISTS response (key TEXT PRIMARY KEY) STRICT;
CREATE TABLE IF NOT EXISTS authentication (
    kind       TEXT NOT NULL CHECK (kind IN ('charge', 'authorization')),
    key        TEXT NOT NULL,
    outcome    TEXT NOT NULL CHECK (outcome IN ('challenged', 'frictionless', 'exempt')),
    amount     INTEGER NOT NULL CHECK (amount > 0),
    currency   TEXT NOT NULL,
    return_url TEXT NOT NULL,
    id         TEXT NOT NULL UNIQUE,
    expires_at REAL NOT NULL,
    PRIMARY KEY (kind, key)
) STRICT;

CREATE TRIGGER IF NOT EXISTS count_moved_money AFTER INSERT ON decision
WHEN NEW.outcome = 'approved' AND NEW.kind IN {MONEY} BEGIN
    INSERT INTO total (currency, kind, amount, count) VALUES (NEW.currency, NEW.kind, NEW.amount, 1)
    ON CONFLICT DO UPDATE SET amount = amount + excluded.amount, count = count + 1;
END;

CREATE TRIGGER IF NOT EXISTS refunds_stay_within_the_charge BEFORE INSERT ON decision
WHEN NEW.kind = 'refund' AND NEW.outcome = 'approved' AND NEW.amount > (
    SELECT COALESCE(SUM(CASE kind WHEN 'refund' THEN -amount ELSE amount END), 0) FROM (
        SELECT kind, amount FROM decision
        WHERE kind = 'charge' AND key = NEW.charge AND outcome = 'approved' AND currency = NEW.currency
        UNION ALL
        SELECT kind, amount FROM decision
        WHERE kind = 'capture' AND charge = NEW.charge AND outcome = 'approved' AND currency = NEW.currency
        UNION ALL
        SELECT kind, amount FROM decision
        WHERE kind = 'refund' AND charge = NEW.charge AND outcome = 'approved'
    )
) BEGIN SELECT RAISE(ABORT, 'the refunds would exceed the charge'); END;

CREATE TRIGGER IF NOT EXISTS captures_stay_within_the_authorization BEFORE INSERT ON decision
WHEN NEW.kind IN ('capture', 'void') AND NEW.outcome = 'approved' AND (
    NEW.amount > (
        SELECT COALESCE(SUM(CASE kind WHEN 'authorization' THEN amount ELSE -amount END), 0) FROM (
            SELECT kind, amount FROM decision
            WHERE kind = 'authorization' AND key = NEW.charge AND outcome = 'approved' AND currency = NEW.currency
            UNION ALL
            SELECT kind, amount FROM decision
            WHERE kind IN ('capture', 'void') AND charge = NEW.charge AND outcome = 'approved'
        )
    )
    OR EXISTS (SELECT 1 FROM decision WHERE charge = NEW.charge AND outcome = 'approved'
        AND (kind = 'void' OR kind = 'capture' AND final))
) BEGIN SELECT RAISE(ABORT, 'the captures would exceed the authorization'); END;

CREATE TRIGGER IF NOT EXISTS decisions_do_not_change BEFORE UPDATE ON decision
BEGIN SELECT RAISE(ABORT, 'a decision never changes'); END;

CREATE TRIGGER IF NOT EXISTS decisions_do_not_vanish BEFORE DELETE ON decision
BEGIN SELECT RAISE(ABORT, 'a decision never changes'); END;
"""  # noqa: S608 - our own words


class StoreError(Exception):
    """The file cannot be used; the message is one sentence for the person who starts the program."""


class Decision(NamedTuple):
    """A row of `decision`. A cancelled key has no amount, because it may have been unknown."""

    kind: str
    key: str
    outcome: str
    code: str | None = None
    charge: str | None = None  # the key of the charge or authorization that it follows
    amount: int | None = None
    currency: str | None = None
    reference: str | None = None
    final: int | None = None


class Dispute(NamedTuple):
    """A row of `dispute`. `charge` is the key of the charge or authorization, `due` the time for evidence."""

    id: str
    charge: str
    charged_at: str
    amount: int
    currency: str
    fee: int
    reason: str
    state: str
    sequence: int
    due: str | None


_COLUMNS = ", ".join(Decision._fields)
_FIND = f"SELECT {_COLUMNS} FROM decision WHERE kind = ? AND key = ?"  # noqa: S608 our own words
_ADD = f"INSERT INTO decision ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"  # noqa: S608 - of our own names
_AUTHENTICATION = f"SELECT {', '.join(Authentication._fields)} FROM authentication"  # noqa: S608 - our own words
_REFUNDED = """SELECT COALESCE(SUM(amount), 0) FROM decision
               WHERE kind = 'refund' AND charge = ? AND outcome = 'approved'"""
_DISPUTED = "SELECT COALESCE(SUM(amount), 0) FROM dispute WHERE charge = ? AND state <> 'won'"
_CAPTURED = """SELECT COALESCE(SUM(amount), 0), MAX(currency) FROM decision
               WHERE kind = 'capture' AND charge = ? AND outcome = 'approved'"""
_USED = """SELECT COALESCE(SUM(amount), 0), COALESCE(MAX(kind = 'void' OR final), 0) FROM decision
           WHERE kind IN ('capture', 'void') AND charge = ? AND outcome = 'approved'"""
# A file of an earlier release: its table knows fewer kinds. Its decisions are kept.
_PARTS = """SELECT 'DROP ' || type || ' ' || name || ';' FROM sqlite_master
            WHERE tbl_name = 'decision' AND type IN ('index', 'trigger') AND sql IS NOT NULL"""
_COPY = """
INSERT INTO decision
SELECT seq, kind, key, outcome, code, charge, amount, currency, reference, {final}, at FROM earlier;
DROP TABLE earlier;
"""
_RECORDS = f"""SELECT seq, kind, key, charge, outcome, amount, currency, reference, at FROM decision
              WHERE seq > ? AND outcome = 'approved' AND kind IN {MONEY} ORDER BY seq LIMIT ?"""  # noqa: S608 - our own words


def new_reference() -> str:
    return f"gw_{uuid4().hex}"


class Store(DataFile):
    """The decisions, disputes and authentications."""

    def __init__(self, path: Path) -> None:
        """Open the file. Raise StoreError if it cannot be created or written, or is held by another process."""
        try:
            super().__init__(path)
            self._create()
            self._db.execute("BEGIN IMMEDIATE")  # takes the lock now, and checks that the file can be written
            self._db.execute("COMMIT")
        except (OSError, sqlite3.Error) as error:
            raise StoreError(f"The data file {path} cannot be used: {error}.") from None

    def _create(self) -> None:
        """Create the tables, or bring those of an earlier release up to date."""
        found = self._db.execute("SELECT sql FROM sqlite_master WHERE name = 'decision'").fetchone()
        if found is None or "'dispute'" in found[0]:
            self._db.executescript(SCHEMA)
            return
        drops = " ".join(part for (part,) in self._db.execute(_PARTS).fetchall())
        copy = _COPY.format(final="final" if "final " in found[0] else "NULL")
        upgrade = f"{drops} ALTER TABLE decision RENAME TO earlier; DELETE FROM total;"  # noqa: S608 - counted again by the copy
        self._db.executescript(f"BEGIN; {upgrade} {SCHEMA} {copy} COMMIT;")

    def find(self, kind: str, key: str) -> Decision | None:
        row = self._db.execute(_FIND, (kind, key)).fetchone()
        return Decision._make(row) if row else None

    def decide(self, decision: Decision) -> tuple[Decision, bool]:
        """Return the decision for this key, and True if it is this one: the first decision stays."""
        if self._db.execute(_ADD, decision).rowcount:
            return decision, True
        earlier = self.find(decision.kind, decision.key)
        assert earlier is not None
        return earlier, False

    def authenticate(self, new: Authentication) -> Authentication:
        """Return the authentication of this order: the first one stays."""
        self._db.execute("INSERT INTO authentication VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING", new)
        kept = self.find_authentication(new.kind, new.key)
        assert kept is not None
        return kept

    def find_authentication(self, kind: str, key: str) -> Authentication | None:
        row = self._db.execute(f"{_AUTHENTICATION} WHERE kind = ? AND key = ?", (kind, key)).fetchone()
        return Authentication._make(row) if row else None

    def find_challenge(self, identifier: str) -> Authentication | None:
        found = self._db.execute(f"{_AUTHENTICATION} WHERE id = ? AND outcome = 'challenged'", (identifier,)).fetchone()
        return Authentication._make(found) if found else None

    def left_to_refund(self, charge: str) -> tuple[int, str] | None:
        """Return the remaining amount and the currency of what a charge or captures took; None if nothing was.

        What a dispute holds back or has taken does not remain.
        """
        paid = self._approved("charge", charge)
        if paid is None:
            amount, currency = self._db.execute(_CAPTURED, (charge,)).fetchone()
            if currency is None:
                return None
            paid = amount, currency
        (refunded,) = self._db.execute(_REFUNDED, (charge,)).fetchone()
        (disputed,) = self._db.execute(_DISPUTED, (charge,)).fetchone()
        return paid[0] - refunded - disputed, paid[1]

    def left_to_capture(self, authorization: str) -> tuple[int, str, bool] | None:
        """Return the remaining amount and the currency of an approved authorization, and whether it is closed."""
        held = self._approved("authorization", authorization)
        if held is None:
            return None
        used, is_closed = self._db.execute(_USED, (authorization,)).fetchone()
        return held[0] - used, held[1], bool(is_closed)

    def _approved(self, kind: str, key: str) -> tuple[int, str] | None:
        found = self.find(kind, key)
        if found is None or found.amount is None or found.currency is None or found.outcome != "approved":
            return None
        return found.amount, found.currency

    def first_attempt(self, kind: str, key: str) -> bool:
        """Return True once per key, also across restarts."""
        return self._db.execute("INSERT INTO attempt VALUES (?, ?) ON CONFLICT DO NOTHING", (kind, key)).rowcount == 1

    def totals(self) -> dict[str, dict[str, int]]:
        totals: dict[str, dict[str, int]] = {}
        for currency, kind, amount, count in self._db.execute("SELECT * FROM total ORDER BY currency, kind"):
            row = totals.setdefault(currency, {"charged": 0, "charges": 0, "refunded": 0, "refunds": 0})
            row |= {f"{kind}s": count, f"{kind.removesuffix('e')}ed": amount}
        return totals

    def records(self, after: int, limit: int) -> Iterator[dict[str, Any]]:
        """Return the movements of money in the order of their commits."""
        cursor = self._db.execute(_RECORDS, (after, limit))
        names = [column[0] for column in cursor.description]
        return (dict(zip(names, row, strict=True)) for row in cursor)

    def decided_at(self, kind: str, key: str) -> str:
        (at,) = self._db.execute("SELECT at FROM decision WHERE kind = ? AND key = ?", (kind, key)).fetchone()
        return str(at)

    def find_dispute(self, identifier: str) -> Dispute | None:
        row = self._db.execute("SELECT * FROM dispute WHERE id = ?", (identifier,)).fetchone()
        return Dispute._make(row) if row else None

    def is_disputed(self, charge: str) -> bool:
        """Return True if a dispute of the charge holds its money back, or has taken it."""
        return bool(self._db.execute(_DISPUTED, (charge,)).fetchone()[0])

    def save_dispute(self, dispute: Dispute, moved: Decision | None, event: bytes) -> None:
        """Store a dispute, the money that its change moves, and its event: all or nothing."""
        with self._db:  # commits, or rolls back
            self._db.execute("BEGIN IMMEDIATE")
            self._db.execute("INSERT OR REPLACE INTO dispute VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", dispute)
            if moved is not None:
                self._db.execute(_ADD, moved)
            self.add_event(event)

    def has_response(self, key: str) -> bool:
        return self._db.execute("SELECT 1 FROM response WHERE key = ?", (key,)).fetchone() is not None

    def add_response(self, key: str) -> None:
        self._db.execute("INSERT INTO response VALUES (?)", (key,))

    def add_event(self, body: bytes) -> None:
        self._insert_event(new_event_id(), body)
