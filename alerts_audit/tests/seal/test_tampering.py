"""What a superuser changes behind our back is named, row by row; what nobody touched is not."""

import pytest

from alerts_audit.tests.seal.trails import Trail

KEYS = {"delivery": "id", "observation": "id", "input": "number", "review": "id", "gap": "id", "view": "id"}
CUT_TAIL = [
    "DELETE FROM alerts_audit_checkpoint WHERE size > (SELECT min(size) FROM alerts_audit_checkpoint)",
    "DELETE FROM alerts_audit_leaf WHERE number >= (SELECT max(size) FROM alerts_audit_checkpoint)",
    *(
        f"DELETE FROM alerts_audit_{table} WHERE {key} NOT IN"
        f" (SELECT ref FROM alerts_audit_leaf WHERE kind = '{table}')"
        for table, key in KEYS.items()
    ),
]

# What was done, the statements, and (code, subject) of every finding.
CASES = {
    "one byte of a body": (
        ["UPDATE alerts_audit_delivery SET body = overlay(body PLACING '\\x00' FROM 1) WHERE id = 2"],
        [("body_changed", "delivery 2")],
    ),
    "a body with its hash": (
        ["UPDATE alerts_audit_delivery SET body = 'other   ', sha256 = sha256('other   ') WHERE id = 2"],
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
        [("leaf_missing", "leaf 10")],
    ),
    "bodies of two deliveries swapped": (
        [
            "UPDATE alerts_audit_delivery SET body = 'body 0 a' WHERE id = 2",
            "UPDATE alerts_audit_delivery SET body = 'body 0 b' WHERE id = 1",
        ],
        [
            ("body_changed", "delivery 1"),
            ("body_changed", "delivery 2"),
            ("body_swapped", "delivery 1"),
            ("body_swapped", "delivery 2"),
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
        [("row_missing", "gap 1")],
    ),
    "a gap's closing removed": (
        ["DELETE FROM alerts_audit_gap WHERE closes_id IS NOT NULL"],
        [("row_missing", "gap 3")],
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
        ["UPDATE alerts_audit_input SET number = 99 WHERE number = 4"],
        [("row_missing", "input 4"), ("row_unsealed", "input 99")],
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
        [("leaf_unsigned", "leaves from 31 on")],
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
            " alerts_audit_input, alerts_audit_review, alerts_audit_gap, alerts_audit_view"
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
