"""Every row of evidence gets one leaf, however late it is committed, and every root is signed and published."""

import json
import logging
import threading

import psycopg
import pytest
from django.db import connection

from alerts_audit.models import Checkpoint, Envelope, Leaf, View
from alerts_audit.seal import horizon, sealer
from alerts_audit.seal.anchor import CheckpointFile
from alerts_audit.seal.keys import SealError, public_keys
from alerts_audit.seal.sealer import SEAL_LOCK, publish, seal
from alerts_audit.seal.standalone import Note
from alerts_audit.tests.payloads import alertmanager_body
from alerts_audit.tests.seal.trails import Trail, make_delivery, make_gap, project
from fintech.testing.processes import wait_until

INSERT_VIEW = "INSERT INTO alerts_audit_view (\"user\", user_id, what, key) VALUES ('ann', 1, 'late', '') RETURNING id"


def is_sealed(kind: str, ref: int) -> bool:
    return Leaf.objects.filter(kind=kind, ref=ref).exists()


def test_a_delivery_gets_a_leaf():
    delivery = make_delivery()

    checkpoint = seal()

    assert Leaf.objects.get(kind="delivery", ref=delivery.pk).number < checkpoint.size


def test_a_checkpoint_is_signed_by_a_key_of_the_trust_root():
    checkpoint = seal()

    note = Note.parse(checkpoint.note)

    assert note.signer(public_keys()).id.hex() == checkpoint.key_id
    assert (note.size, note.root) == (checkpoint.size, bytes(checkpoint.root))


def test_numbers_are_dense_and_the_newest_checkpoint_covers_them_all(trail: Trail):
    [(size,)] = trail.query("SELECT max(size) FROM alerts_audit_checkpoint")

    assert trail.query("SELECT min(number), max(number), count(*) FROM alerts_audit_leaf") == [(0, size - 1, size)]


def test_sealing_without_new_rows_signs_the_same_root_again(trail: Trail):
    with trail.used():
        first, second = seal(), seal()

    assert (second.size, bytes(second.root)) == (first.size, bytes(first.root))
    assert second.pk > first.pk
    assert second.at > first.at


def test_an_empty_log_is_signed_too(new_trail: Trail):
    with new_trail.used():
        assert seal().size == 0


def test_more_rows_than_a_turn_takes_are_sealed_in_turns(trail: Trail, monkeypatch):
    monkeypatch.setattr(sealer, "CHUNK", 4)
    with trail.used():
        views = [View.objects.create(user="ann", user_id=1, what="many", key=str(number)).pk for number in range(11)]
        before = Checkpoint.objects.count()
        last = seal()

        assert Checkpoint.objects.count() == before + 3
        assert last.settled["view"] == views[-1]
    assert trail.found() == []


def test_a_row_that_is_committed_late_is_sealed_by_the_next_run(trail: Trail, monkeypatch):
    monkeypatch.setattr(horizon, "WRITERS_SECONDS", 0)
    with psycopg.connect(trail.server.url("app", trail.name)) as slow, trail.used():
        [(early,)] = slow.execute(INSERT_VIEW).fetchall()
        later = View.objects.create(user="ann", user_id=1, what="later")
        seal()
        assert later.pk > early
        assert is_sealed("view", later.pk)
        slow.commit()
        assert not is_sealed("view", early)

        seal()

        assert is_sealed("view", early)
    assert trail.found() == []


def test_a_row_that_stays_open_over_many_runs_is_sealed_in_the_end(trail: Trail, monkeypatch):
    monkeypatch.setattr(horizon, "WRITERS_SECONDS", 0)
    with psycopg.connect(trail.server.url("app", trail.name)) as slow, trail.used():
        [(early,)] = slow.execute(INSERT_VIEW).fetchall()
        for _ in range(3):
            View.objects.create(user="ann", user_id=1, what="later")
            assert seal().settled["view"] < early
        slow.commit()

        assert seal().settled["view"] > early
        assert is_sealed("view", early)
    assert trail.found() == []


def test_a_run_waits_briefly_for_running_writers(trail: Trail):
    with psycopg.connect(trail.server.url("app", trail.name)) as slow, trail.used():
        [(early,)] = slow.execute(INSERT_VIEW).fetchall()
        View.objects.create(user="ann", user_id=1, what="later")
        threading.Timer(0.1, slow.commit).start()

        assert seal().settled["view"] > early
        assert is_sealed("view", early)


def test_an_id_that_was_rolled_back_holds_up_nothing(trail: Trail):
    with psycopg.connect(trail.server.url("app", trail.name)) as slow, trail.used():
        [(lost,)] = slow.execute(INSERT_VIEW).fetchall()
        slow.rollback()
        later = View.objects.create(user="ann", user_id=1, what="later")

        assert seal().settled["view"] == later.pk == lost + 1
    assert trail.found() == []


def test_a_run_reads_only_what_is_new(trail: Trail):
    with trail.used(), connection.cursor() as cursor:
        seal()
        settled = Checkpoint.objects.latest("id").settled
        cursor.execute("SELECT max(id) FROM alerts_audit_delivery")

        assert settled["delivery"] == cursor.fetchone()[0]


@pytest.mark.parametrize("time", ["infinity", "-infinity", "20000-01-01"])
def test_a_row_of_an_impossible_time_keeps_no_other_from_being_sealed(trail: Trail, time):
    """An impossible time can be inserted, and cannot be removed again."""
    with trail.used(), connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO alerts_audit_delivery (received_at, source, body, sha256, size) VALUES (%s, 'a', '', %s, 0)",
            [time, bytes(32)],
        )
        after = make_delivery(alertmanager_body("After"))
        project()
        seal()

        assert is_sealed("delivery", after.pk)
        assert Envelope.objects.get(pk=after.pk).error is None
    assert [finding.code for finding in trail.verify().findings] == ["body_changed"]  # its hash was made up


@pytest.mark.parametrize("name", ["trail", "new_trail"])
def test_a_row_with_a_number_of_its_own_keeps_no_other_from_being_sealed(request, name):
    """Also in a table that has given out no number yet."""
    trail: Trail = request.getfixturevalue(name)
    with trail.used():
        View.objects.create(id=9 * 10**18, user="eve", user_id=1, what="episode", key="")
        seal()
        after = View.objects.create(user="ann", user_id=1, what="episode", key="")
        seal()

        assert is_sealed("view", 9 * 10**18)
        assert is_sealed("view", after.pk)
    assert trail.found() == []


def test_two_sealers_at_once_give_each_row_one_leaf(trail: Trail):
    def work() -> None:
        with trail.used():
            for _ in range(5):
                make_gap()
                seal()

    threads = [threading.Thread(target=work) for _ in range(3)]
    with trail.used():
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert trail.query("SELECT count(*), count(DISTINCT ref) FROM alerts_audit_leaf WHERE kind = 'gap'") == [(19, 19)]
    assert trail.found() == []


def test_a_sealer_that_dies_leaves_no_lock(trail: Trail):
    with psycopg.connect(trail.server.url("app", trail.name), autocommit=True) as other:
        other.execute("SELECT pg_advisory_lock(%s)", [SEAL_LOCK])
        done = threading.Thread(target=trail.seal)
        done.start()
        waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted"
        wait_until(lambda: trail.query(waiting) == [(1,)], what="the other holds the lock")
        other.close()
    done.join(10)

    assert not done.is_alive()
    assert trail.found() == []


def test_a_checkpoint_is_published_in_the_file_and_in_the_log(trail: Trail, caplog):
    caplog.set_level(logging.INFO)
    with trail.used():
        checkpoint = seal()
        last = CheckpointFile().last()

    assert (last.id, last.note) == (checkpoint.pk, checkpoint.note)
    assert [(line.checkpoint_id, line.note) for line in caplog.records if line.getMessage() == "audit_checkpoint"] == [
        (checkpoint.pk, checkpoint.note)
    ]


def test_the_next_run_writes_a_checkpoint_that_a_crash_kept_from_the_file(trail: Trail, monkeypatch):
    with trail.used():
        with monkeypatch.context() as crash:
            crash.setattr(sealer, "publish", interrupted)
            with pytest.raises(KeyboardInterrupt):
                seal()
        seal()
    written = [json.loads(line)["id"] for line in trail.checkpoints.read_text().splitlines()]

    assert written == [number for (number,) in trail.query("SELECT id FROM alerts_audit_checkpoint ORDER BY id")]
    assert trail.found() == []


def interrupted() -> None:
    raise KeyboardInterrupt


def test_publishing_again_writes_nothing(trail: Trail):
    before = trail.checkpoints.read_bytes()
    with trail.used():
        publish()

    assert trail.checkpoints.read_bytes() == before


def test_a_lost_file_is_written_again_page_by_page(trail: Trail, monkeypatch, caplog):
    monkeypatch.setattr(sealer, "PAGE", 3)
    before = [json.loads(line)["note"] for line in trail.checkpoints.read_text().splitlines()]
    trail.checkpoints.unlink()
    with trail.used():
        publish()

    assert [json.loads(line)["note"] for line in trail.checkpoints.read_text().splitlines()] == before
    assert [record.last for record in caplog.records if record.getMessage() == "audit_checkpoints_rewritten"] == [3]


# --- What it refuses -----------------------------------------------------------------------------------------------


REFUSALS = {
    "the tail was cut": (
        "DELETE FROM alerts_audit_checkpoint WHERE id = 4",
        "ends with checkpoint 4, and the database has none",
    ),
    "a checkpoint was changed": (
        "UPDATE alerts_audit_checkpoint SET note = replace(note, 'time 20', 'time 19') WHERE id = 4",
        "ends with checkpoint 4, and the database has another one",
    ),
    "the frontier was changed": (
        "UPDATE alerts_audit_checkpoint SET frontier[1] = sha256('') WHERE id = 4",
        "cannot continue from checkpoint 4",
    ),
    "a leaf was slipped in": (
        "INSERT INTO alerts_audit_leaf (number, kind, ref, hash) VALUES (99, 'view', 77, sha256(''))",
        "more leaves than the 28",
    ),
}


@pytest.mark.parametrize(("statement", "said"), REFUSALS.values(), ids=REFUSALS)
def test_nothing_is_signed_after_tampering(trail: Trail, statement, said):
    trail.tamper(statement)
    before = trail.query("SELECT count(*) FROM alerts_audit_checkpoint")

    with pytest.raises(SealError, match=said):
        trail.seal()

    assert trail.query("SELECT count(*) FROM alerts_audit_checkpoint") == before


def test_a_changed_leaf_is_not_signed_again(trail: Trail):
    trail.tamper("UPDATE alerts_audit_leaf SET hash = sha256('') WHERE number = 12")
    trail.seal()

    assert ("root_differs", "leaves 9 to 18") in trail.found()


def test_nothing_is_signed_without_the_key(trail: Trail):
    (trail.directory / "signing_key").unlink()

    with pytest.raises(SealError, match="There is no signing key"):
        trail.seal()


def test_nothing_is_signed_with_a_strange_key(trail: Trail, new_trail: Trail):
    strange = new_trail.directory.with_name("strange")
    with Trail(new_trail.name, strange).used():
        seal()
    (trail.directory / "signing_key").write_bytes((strange / "signing_key").read_bytes())

    with pytest.raises(SealError, match="not in the trust root"):
        trail.seal()
