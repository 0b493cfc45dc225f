"""Changes by a superuser are reported row by row; unchanged rows are not."""

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from django.db import connection

from alerts_audit.seal.anchor import Entry
from alerts_audit.seal.canonical import KINDS
from alerts_audit.seal.signed_notes import SigningKey, checkpoint_note, new_key
from alerts_audit.seal.standalone import Invalid, Note
from alerts_audit.seal.verify import checkpoints
from alerts_audit.tests.seal.trails import Trail, project

KEYS = {"delivery": "id", "observation": "id", "input": "number", "review": "id", "gap": "id", "view": "id"}
CUT_TAIL = [
    "DELETE FROM alerts_audit_checkpoint WHERE size > (SELECT min(size) FROM alerts_audit_checkpoint)",
    "DELETE FROM alerts_audit_leaf WHERE number >= (SELECT max(size) FROM alerts_audit_checkpoint)",
    *(
        f"DELETE FROM alerts_audit_{table} WHERE {key} NOT IN"
        f" (SELECT ref FROM alerts_audit_leaf WHERE kind = '{table}')"
        for table, key in KEYS.items()
    ),
    "DELETE FROM alerts_audit_opengap WHERE gap_id NOT IN (SELECT id FROM alerts_audit_gap)",
]

# What was done, the statements, and (code, subject) of every finding.
CASES = {
    "one byte of a body": (
        ["UPDATE alerts_audit_delivery SET body = overlay(body PLACING '\\x00' FROM 1) WHERE id = 2"],
        [("body_changed", "delivery 2")],
    ),
    "a body with its hash": (
        ["UPDATE alerts_audit_delivery SET body = 'other', sha256 = sha256('other'), size = 5 WHERE id = 2"],
        [("row_changed", "delivery 2")],
    ),
    "a delivery deleted": (
        ["DELETE FROM alerts_audit_delivery WHERE id = 3"],
        [("row_missing", "delivery 3")],
    ),
    "a delivery deleted with its leaf": (
        [
            "DELETE FROM alerts_audit_delivery WHERE id = 3",
            "DELETE FROM alerts_audit_leaf WHERE kind = 'delivery' AND ref = 3",
        ],
        [("leaf_missing", "leaf 9")],
    ),
    "bodies of two deliveries swapped": (
        [
            "UPDATE alerts_audit_delivery SET body = other.body FROM alerts_audit_delivery AS other"
            " WHERE (alerts_audit_delivery.id, other.id) IN ((1, 3), (3, 1))",
        ],
        [
            ("body_changed", "delivery 1"),
            ("body_changed", "delivery 3"),
            ("body_swapped", "delivery 1"),
            ("body_swapped", "delivery 3"),
        ],
    ),
    "two deliveries swapped": (
        [
            "UPDATE alerts_audit_delivery SET id = -1 WHERE id = 1",
            "UPDATE alerts_audit_delivery SET id = 1 WHERE id = 3",
            "UPDATE alerts_audit_delivery SET id = 3 WHERE id = -1",
        ],
        [("row_changed", "delivery 1"), ("row_changed", "delivery 3")],
    ),
    "the time of a delivery": (
        ["UPDATE alerts_audit_delivery SET received_at = received_at + interval '1 microsecond' WHERE id = 4"],
        [("row_changed", "delivery 4")],
    ),
    "a review's text": (
        ["UPDATE alerts_audit_review SET text = 'never seen' WHERE id = 1"],
        [("row_changed", "review 1")],
    ),
    "a review's author": (
        ["UPDATE alerts_audit_review SET author = 'bob' WHERE id = 3"],
        [("row_changed", "review 3")],
    ),
    "a gap removed": (
        ["DELETE FROM alerts_audit_gap WHERE id = 1"],
        [("row_missing", "gap 1"), ("gap_list", "the list of open gaps")],
    ),
    "a gap's closing removed": (
        ["DELETE FROM alerts_audit_gap WHERE closes_id IS NOT NULL"],
        [("row_missing", "gap 3"), ("gap_list", "the list of open gaps")],
    ),
    "an open gap taken off the list": (
        ["DELETE FROM alerts_audit_opengap"],
        [("gap_list", "the list of open gaps")] * 2,
    ),
    "a gap's labels": (
        ["UPDATE alerts_audit_gap SET labels = '{}' WHERE id = 1"],
        [("row_changed", "gap 1")],
    ),
    "a view removed": (
        ["DELETE FROM alerts_audit_view WHERE id = 2"],
        [("row_missing", "view 2")],
    ),
    "an input's time": (
        ["UPDATE alerts_audit_input SET at = at + interval '1 hour' WHERE number = 4"],
        [("row_changed", "input 4")],
    ),
    "an input's number": (
        ["UPDATE alerts_audit_input SET number = 99, at = clock_timestamp() WHERE number = 4"],
        [("row_missing", "input 4")],
    ),
    "an observation": (
        ["UPDATE alerts_audit_observation SET body = '[]' WHERE id = 1"],
        [("body_changed", "observation 1")],
    ),
    "a row slipped in": (
        ["INSERT INTO alerts_audit_view (id, \"user\", user_id, what, key) VALUES (0, 'eve', 1, 'episode', '')"],
        [("row_unsealed", "view 0")],
    ),
    "a row slipped in with another day's time": (
        ["INSERT INTO alerts_audit_view (\"user\", user_id, what, key, at) VALUES ('e', 1, 'x', '', '2030-01-01')"],
        [("row_unsealed", "view 4")],
    ),
    "a leaf slipped in": (
        ["INSERT INTO alerts_audit_leaf (number, kind, ref, hash) VALUES (99, 'view', 77, sha256(''))"],
        [("leaf_unsigned", "leaves from 28 on")],
    ),
    "the tail cut": (
        CUT_TAIL,
        [
            ("checkpoint_missing", "checkpoint 2 of the file"),
            ("checkpoint_missing", "checkpoint 3 of the file"),
            ("checkpoint_missing", "checkpoint 4 of the file"),
        ],
    ),
    "all of it emptied": (
        [
            "TRUNCATE alerts_audit_checkpoint, alerts_audit_leaf, alerts_audit_delivery, alerts_audit_observation,"
            " alerts_audit_input, alerts_audit_review, alerts_audit_gap, alerts_audit_view, alerts_audit_opengap"
        ],
        [("checkpoint_missing", "checkpoint 4 of the file")],
    ),
    "the root in a checkpoint's row": (
        ["UPDATE alerts_audit_checkpoint SET root = sha256('') WHERE id = 2"],
        [("checkpoint_row", "checkpoint 2")],
    ),
    "a checkpoint deleted": (
        ["DELETE FROM alerts_audit_checkpoint WHERE id = 2"],
        [("checkpoint_missing", "checkpoint 2 of the file")],
    ),
    "a review deleted, and its leaf made one of no table": (
        [
            "DELETE FROM alerts_audit_review WHERE id = 2",
            "UPDATE alerts_audit_leaf SET kind = 'other' WHERE kind = 'review' AND ref = 2",
        ],
        [("leaf_changed", "leaf 15")],
    ),
    "a time that Python cannot hold": (
        ["UPDATE alerts_audit_review SET at = 'infinity' WHERE id = 2"],
        [("row_changed", "review 2")],
    ),
    "a row slipped in with such a time": (
        ["INSERT INTO alerts_audit_view (\"user\", user_id, what, key, at) VALUES ('e', 1, 'x', '', 'infinity')"],
        [("row_unsealed", "view 4")],
    ),
    "such a time in a checkpoint's row": (
        ["UPDATE alerts_audit_checkpoint SET at = 'infinity' WHERE id = 2"],
        [("checkpoint_row", "checkpoint 2")],
    ),
    "another key in a checkpoint's row": (
        ["UPDATE alerts_audit_checkpoint SET key_id = '00000000' WHERE id = 2"],
        [("checkpoint_row", "checkpoint 2")],
    ),
    "an untrusted key in a checkpoint's row": (
        ["UPDATE alerts_audit_checkpoint SET public_key = 'eve' WHERE id = 2"],
        [("checkpoint_row", "checkpoint 2")],
    ),
    "a log of very many leaves in a checkpoint's row": (
        ["UPDATE alerts_audit_checkpoint SET size = 1000000000000000 WHERE id = 4"],
        [("checkpoint_row", "checkpoint 4")],
    ),
    "a leaf far from the others": (
        [
            "UPDATE alerts_audit_checkpoint SET size = 1000000000000000 WHERE id = 4",
            "UPDATE alerts_audit_leaf SET number = 1000000000000 WHERE number = 27",
        ],
        [
            ("leaf_missing", "leaves 27 to 999999999999"),
            ("checkpoint_row", "checkpoint 4"),
        ],
    ),
    "a row far from the others": (
        [
            'INSERT INTO alerts_audit_view (id, "user", user_id, what, key, at)'
            " VALUES (9000000000000000000, 'eve', 1, 'x', '', '2026-01-01')"
        ],
        [("row_unsealed", "view 9000000000000000000")],
    ),
    "a row with the lowest number there is": (
        [
            'INSERT INTO alerts_audit_view (id, "user", user_id, what, key, at)'
            " VALUES (-9223372036854775808, 'eve', 1, 'x', '', '2026-01-01')"
        ],
        [("row_unsealed", "view -9223372036854775808")],
    ),
    "nonsense for what a checkpoint has settled": (
        ["UPDATE alerts_audit_checkpoint SET settled = '[]' WHERE id = 4"],
        [("checkpoint_row", "checkpoint 4")],
    ),
    "a review with a double": (
        [
            "ALTER TABLE alerts_audit_review DROP CONSTRAINT alerts_audit_review_pkey",
            "INSERT INTO alerts_audit_review OVERRIDING SYSTEM VALUE SELECT * FROM alerts_audit_review WHERE id = 2",
        ],
        [("row_twice", "review 2")],
    ),
    "an open gap listed under another name": (
        ["UPDATE alerts_audit_opengap SET subject = 'other' WHERE gap_id = 1"],
        [("gap_list", "the list of open gaps")],
    ),
    "a trigger switched off": (
        ["ALTER TABLE alerts_audit_gap DISABLE TRIGGER append_only"],
        [("guard", "alerts_audit_gap")],
    ),
    "a trigger that refuses nothing": (
        [
            "CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
            "CREATE OR REPLACE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON alerts_audit_view"
            " FOR EACH STATEMENT EXECUTE FUNCTION nothing()",
        ],
        [("guard", "alerts_audit_view")],
    ),
    "deliveries kept from the projector": (
        ["DROP TRIGGER remember_pending ON alerts_audit_delivery"],
        [("guard", "alerts_audit_delivery")],
    ),
    "more rights for the application": (
        ["GRANT UPDATE, DELETE ON alerts_audit_review TO app"],
        [("guard", "alerts_audit_review")] * 2,
    ),
    "more rights for the application, on a column": (
        ["GRANT UPDATE (body) ON alerts_audit_delivery TO app"],
        [("guard", "alerts_audit_delivery")],
    ),
    "a right to write that is the owner's": (
        ["GRANT INSERT (id) ON payments_archive TO app"],
        [("guard", "payments_archive")],
    ),
}


def test_a_clean_trail_has_no_finding(trail: Trail):
    report = trail.verify()

    assert report.findings == []
    assert report.remarks == []
    [(size,)] = trail.query("SELECT max(size) FROM alerts_audit_checkpoint")
    assert report.counts["leaves"] == report.tree_size == size


@pytest.mark.parametrize(("statements", "expected"), CASES.values(), ids=CASES)
def test_tampering_is_named(trail: Trail, statements, expected):
    trail.tamper(*statements)

    assert trail.found() == expected


PROJECTION = {
    "an episode's state": "UPDATE alerts_audit_episode SET state = 'unknown' WHERE id = 1",
    "an episode removed": "DELETE FROM alerts_audit_episode WHERE id = 2",
    "a transition removed": "DELETE FROM alerts_audit_transition WHERE id = 2",
    "an identity's labels": "UPDATE alerts_audit_identity SET labels = '{}' WHERE id = 1",
    "an input's time": "UPDATE alerts_audit_input SET at = at + interval '1 hour' WHERE number = 4",
    "an input's time is none": "UPDATE alerts_audit_input SET at = 'infinity' WHERE number = 4",
    "an input that cannot be replayed": "UPDATE alerts_audit_input SET context = '[]' WHERE number = 4",
    "a delivery lost before it was used": "INSERT INTO alerts_audit_pending VALUES (99, 'delivery', 99, now())",
    "a delivery to be used twice": "INSERT INTO alerts_audit_pending VALUES (99, 'delivery', 1, now())",
}


@pytest.mark.parametrize("statement", PROJECTION.values(), ids=PROJECTION)
def test_a_changed_projection_is_named(trail: Trail, statement):
    trail.tamper(statement)

    assert "projection" in {finding.code for finding in trail.verify().findings}


def test_a_swapped_body_is_reported_with_its_owner(trail: Trail):
    trail.tamper(*CASES["bodies of two deliveries swapped"][0])

    assert "delivery 1: it has the body of delivery 3" in [str(finding) for finding in trail.verify().findings]


def test_a_row_changed_along_with_its_leaf_is_narrowed_down_to_what_was_signed_together(trail: Trail):
    trail.tamper("UPDATE alerts_audit_review SET text = 'never seen' WHERE id = 2")
    with trail.used(), connection.cursor() as cursor:
        kind = KINDS["review"]
        cursor.execute(f"SELECT {kind.select} FROM {kind.table} WHERE id = 2")
        forged = kind.hash(cursor.fetchone())
    trail.tamper("UPDATE alerts_audit_leaf SET hash = %s WHERE kind = 'review' AND ref = 2", values=(forged,))

    assert trail.found() == [("root_differs", "leaves 9 to 18")]


# --- Checkpoints that were forged ----------------------------------------------------------------------------------


def forge(trail: Trail, key: SigningKey, *, size: int, root: bytes) -> None:
    """In place of checkpoint 2, in the table alone."""
    [(at,)] = trail.query("SELECT at FROM alerts_audit_checkpoint WHERE id = 2")
    note = checkpoint_note(key, size, root, at)
    trail.tamper(
        "UPDATE alerts_audit_checkpoint SET note = %s, size = %s, root = %s WHERE id = 2", values=(note, size, root)
    )


def test_a_checkpoint_by_another_key_is_named(trail: Trail):
    origin = Note.parse(trail.query("SELECT note FROM alerts_audit_checkpoint")[0][0]).origin
    forge(trail, new_key(origin), size=19, root=bytes(32))

    assert trail.found() == [
        ("checkpoint_signature", "checkpoint 2"),
        ("checkpoint_differs", "checkpoint 2 of the file"),
    ]


def test_a_checkpoint_with_another_root_by_the_right_key_is_named(trail: Trail):
    forge(trail, SigningKey.parse((trail.directory / "signing_key").read_text()), size=19, root=bytes(32))

    assert trail.found() == [
        ("checkpoint_row", "checkpoint 2"),
        ("root_differs", "leaves 9 to 18"),
        ("checkpoint_differs", "checkpoint 2 of the file"),
    ]


def test_a_checkpoint_with_another_root_in_the_file_is_named(trail: Trail):
    key = SigningKey.parse((trail.directory / "signing_key").read_text())
    lines = trail.checkpoints.read_bytes().splitlines(keepends=True)
    entry = Entry.parse(lines[1])
    note = checkpoint_note(key, 19, bytes(32), datetime.now(UTC))
    trail.checkpoints.write_bytes(b"".join([lines[0], Entry(entry.id, note, entry.written_at).line(), *lines[2:]]))

    assert trail.found() == [
        ("checkpoint_differs", "checkpoint 2 of the file"),
        ("root_differs", "checkpoint 2 of the file"),
    ]


# --- The file outside ----------------------------------------------------------------------------------------------


def test_a_missing_file_is_reported(trail: Trail):
    trail.checkpoints.unlink()

    assert [code for code, _ in trail.found()] == ["file_missing"]


def test_a_file_cut_at_its_end_is_reported(trail: Trail, monkeypatch):
    monkeypatch.setattr(checkpoints, "GRACE", timedelta(0))
    lines = trail.checkpoints.read_bytes().splitlines(keepends=True)
    trail.checkpoints.write_bytes(b"".join(lines[:2]))

    assert trail.found() == [("file_lacks", "checkpoints 3 to 4")]


def test_a_file_without_a_line_is_reported(trail: Trail):
    lines = trail.checkpoints.read_bytes().splitlines(keepends=True)
    trail.checkpoints.write_bytes(b"".join([*lines[:1], *lines[2:]]))

    assert trail.found() == [("file_lacks", "checkpoint 2")]


def test_lines_in_another_order_are_reported(trail: Trail):
    lines = trail.checkpoints.read_bytes().splitlines(keepends=True)
    trail.checkpoints.write_bytes(b"".join([lines[0], lines[2], lines[1], lines[3]]))

    assert trail.found() == [("file_lacks", "checkpoint 2"), ("file_order", "line 3 of the checkpoint file")]


def test_a_malformed_line_is_reported(trail: Trail):
    lines = trail.checkpoints.read_bytes().splitlines(keepends=True)
    trail.checkpoints.write_bytes(b"".join([lines[0], b"rubbish\n", *lines[1:]]))

    assert trail.found() == [("file_line", "line 2 of the checkpoint file")]


def test_a_torn_line_before_the_whole_one_is_no_finding(trail: Trail):
    lines = trail.checkpoints.read_bytes().splitlines(keepends=True)
    trail.checkpoints.write_bytes(b"".join([*lines[:3], lines[3][:50], b"\n", lines[3]]))

    assert trail.found() == []


def test_checkpoints_added_to_the_file_later_are_reported(trail: Trail, monkeypatch):
    trail.checkpoints.unlink()
    monkeypatch.setattr(checkpoints, "GRACE", timedelta(0))
    trail.seal()

    report = trail.verify()

    assert report.ok
    assert "5 checkpoints were written to the file more than" in report.remarks[0]


def test_a_copy_of_the_file_finds_a_checkpoint_removed_from_the_local_file(trail: Trail, tmp_path):
    copy = shutil.copy(trail.checkpoints, tmp_path / "copy")
    trail.tamper(*CUT_TAIL)
    lines = trail.checkpoints.read_bytes().splitlines(keepends=True)
    trail.checkpoints.write_bytes(lines[0])

    assert trail.found() == []  # who holds the database and every anchor can cut the tail
    assert [code for code, _ in trail.found(checkpoint_file=Path(copy))] == ["checkpoint_missing"] * 3


def test_nothing_is_believed_without_a_trust_root(trail: Trail):
    (trail.directory / "public_keys").unlink()

    with pytest.raises(Invalid, match="no trust root"):
        trail.verify()


def test_another_trust_root_believes_nothing(trail: Trail, tmp_path):
    other = tmp_path / "keys"
    other.write_text(f"{new_key().public}\n")

    assert {code for code, _ in trail.found(key_file=other)} == {"checkpoint_signature"}


def test_a_row_backdated_before_its_seal_is_reported(trail: Trail):
    """A row can claim an earlier time; the log shows that it did not exist then."""
    with trail.used(), connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO alerts_audit_delivery (received_at, source, body, sha256, size)"
            " VALUES (now() - interval '1 day', 'seal', '{}', sha256('{}'), 2) RETURNING id"
        )
        (pk,) = cursor.fetchone()
        project()
    trail.seal()
    report = trail.verify()

    assert report.ok
    assert report.remarks == [
        "Rows that are dated more than 5 minutes older than a checkpoint that lacks them:"
        f" 1 (delivery {pk}). They were added later, or the clock was set back."
    ]


def test_a_window_whose_beginning_was_spoilt_is_verified_from_before_that(trail: Trail):
    [(third,)] = trail.query("SELECT at FROM alerts_audit_checkpoint WHERE id = 3")
    trail.tamper("UPDATE alerts_audit_checkpoint SET frontier = '{}' WHERE id = 3")

    assert trail.found(since=third) == [("checkpoint_row", "checkpoint 3")] * 2


def test_after_the_clock_was_set_back_a_window_leaves_nothing_out(trail: Trail):
    """Checkpoint 2 is of a later time than 3: what it sealed then is part of the window."""
    [(third,)] = trail.query("SELECT at FROM alerts_audit_checkpoint WHERE id = 3")
    trail.tamper("UPDATE alerts_audit_checkpoint SET at = at + interval '1 hour' WHERE id = 2")
    trail.tamper("UPDATE alerts_audit_review SET text = 'never' WHERE id = 2")

    assert ("row_changed", "review 2") in trail.found(since=third)


def test_a_window_finds_what_is_in_it_and_not_what_is_before(trail: Trail):
    [(second,)] = trail.query("SELECT at FROM alerts_audit_checkpoint WHERE id = 2")
    trail.tamper("UPDATE alerts_audit_review SET text = 'never' WHERE id IN (1, 3)")

    assert trail.found(since=second) == [("row_changed", "review 3")]
    assert trail.found() == [("row_changed", "review 1"), ("row_changed", "review 3")]
