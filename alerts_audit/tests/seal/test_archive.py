"""A sealed range goes into a file, whole and proven, and what is left still proves itself."""

import gzip
import json
import threading
import time
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path

import psycopg
import pytest
from django.core.management import CommandError, call_command
from django.db import connection, connections

from alerts_audit.models import Archive, Delivery, Gap, Input, Leaf, Observation, Review, View
from alerts_audit.seal.archive import archive as steps
from alerts_audit.seal.archive.archive import ArchiveError, Result, archive
from alerts_audit.seal.archive.files import check
from alerts_audit.seal.keys import SealError, public_keys
from alerts_audit.seal.merkle import Frontier
from alerts_audit.seal.rotation import Trust
from alerts_audit.seal.sealer import seal
from alerts_audit.seal.standalone import Invalid
from alerts_audit.tests.payloads import alertmanager_body
from alerts_audit.tests.seal.trails import Trail, end_gap, make_delivery, project
from fintech.testing.processes import slowness


def run(trail: Trail, *, checkpoint: int = 2, dry_run: bool = False) -> Result | None:
    """Up to that checkpoint."""
    [(before,)] = trail.query("SELECT min(at) FROM alerts_audit_checkpoint WHERE id > %s", checkpoint)
    with trail.used():
        return archive(
            before=before or datetime.now(UTC),
            directory=trail.directory / "archives",
            by="ann",
            progress=lambda *_: None,
            dry_run=dry_run,
        )


def files(trail: Trail) -> list[Path]:
    return sorted((trail.directory / "archives").glob("*.gz"))


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]


@pytest.fixture(scope="module")
def archived(sealed: Trail, tmp_path_factory) -> Trail:
    """With an archive of its first two checkpoints; for reading, and for copies."""
    trail = sealed.copy(tmp_path_factory.mktemp("archived") / "audit")
    done = run(trail)
    assert (done.first, done.end) == (0, 19)
    return trail


def test_the_range_is_gone_and_what_is_left_is_right(archived: Trail):
    with archived.used():
        assert list(Delivery.objects.order_by("id").values_list("pk", flat=True)) == [5, 6]
        assert (Observation.objects.count(), View.objects.count()) == (1, 1)
        assert Input.objects.order_by("number").first().number == 7
    report = archived.verify()
    assert report.findings == []
    assert report.remarks == [
        "Archived, and not verified without --archive: leaves 0 to 18 (alert-trail-0-18.jsonl.gz)."
    ]


def test_reviews_and_open_gaps_stay_with_their_leaves(archived: Trail):
    with archived.used():
        assert Review.objects.count() == 3
        assert sorted(Gap.objects.values_list("pk", flat=True)) == [1, 4]  # 2 is closed by 3
        assert sorted(Leaf.objects.filter(number__lt=19).values_list("kind", "ref")) == [
            ("gap", 1),
            ("review", 1),
            ("review", 2),
        ]


def test_the_file_holds_every_row_and_every_checkpoint(archived: Trail, sealed: Trail):
    hashes = sealed.query("SELECT encode(sha256, 'hex') FROM alerts_audit_delivery WHERE id < 5 ORDER BY id")

    held = lines(files(archived)[0])

    assert [line["number"] for line in held if "number" in line] == list(range(19))
    assert [line["checkpoint"] for line in held if "checkpoint" in line] == [1, 2]
    rows = [line["leaf"]["row"] for line in held if "body" in line and line["leaf"]["leaf"] == "delivery"]
    assert [(row["sha256"],) for row in rows] == hashes


def test_verification_goes_through_the_file_if_it_is_given(archived: Trail):
    report = archived.verify(archives=files(archived))

    assert (report.findings, report.remarks) == ([], [])
    assert report.counts["rows in archives"] == 19


def test_the_next_archive_goes_on_and_takes_what_the_first_had_to_keep(trail: Trail):
    run(trail)
    with trail.used():
        end_gap(Gap.objects.get(pk=1))
        seal()

    done = run(trail, checkpoint=100)

    assert done.first == 19
    with trail.used():
        assert list(Gap.objects.values_list("pk", flat=True)) == [4]
    report = trail.verify(archives=files(trail))
    assert (report.findings, report.remarks) == ([], [])


def test_later_rows_are_projected_sealed_and_verified_as_before(trail: Trail):
    run(trail)
    with trail.used():
        make_delivery(alertmanager_body("Alert0"))
        project()
        seal()

    assert trail.found() == []
    assert trail.verify().ok


def test_a_row_of_an_impossible_time_goes_into_the_file_like_any_other(trail: Trail):
    with trail.used(), connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO alerts_audit_view (\"user\", user_id, what, key, at) VALUES ('eve', 1, 'x', '', 'infinity')"
        )
        seal()

    run(trail, checkpoint=9)

    rows = [line["leaf"]["row"] for line in lines(files(trail)[0]) if "number" in line]
    assert "9999-12-31T23:59:59.999999Z" in [row.get("at") for row in rows]
    assert trail.verify(archives=files(trail)).findings == []


def test_a_delivery_that_was_not_projected_by_then_stays(new_trail: Trail):
    with new_trail.used():
        make_delivery(alertmanager_body("Early"))
        project()
        late = make_delivery(alertmanager_body("Late"))
        seal()
        project()
        seal()
    run(new_trail, checkpoint=1)

    with new_trail.used():
        assert list(Delivery.objects.values_list("pk", flat=True)) == [late.pk]
    assert new_trail.verify().ok


def test_a_dry_run_changes_nothing(trail: Trail):
    before = trail.query("SELECT count(*) FROM alerts_audit_leaf")

    done = run(trail, dry_run=True)

    assert (done.first, done.end, done.archive) == (0, 19, None)
    assert trail.query("SELECT count(*) FROM alerts_audit_leaf") == before
    assert files(trail) == []


def test_there_may_be_nothing_to_archive(trail: Trail):
    run(trail)

    assert run(trail) is None
    assert run(trail, checkpoint=1) is None


@pytest.mark.parametrize("step", ["_export", "carried_state", "_finish_one", "seal", "drop"])
def test_an_interrupted_run_is_taken_up_by_the_next(trail: Trail, monkeypatch, step):
    with monkeypatch.context() as crash:
        crash.setattr(steps, step, interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(trail)
    assert trail.query("SELECT count(*) FROM alerts_audit_delivery") == [(6,)]

    run(trail)

    assert trail.query("SELECT count(*) FROM alerts_audit_delivery") == [(2,)]
    assert trail.query("SELECT count(*) FROM alerts_audit_archive") == [(1,)]
    assert trail.verify(archives=files(trail)).findings == []


def interrupted(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_a_run_interrupted_while_it_drops_is_taken_up(trail: Trail, monkeypatch):
    from alerts_audit.seal.archive import drop

    change, calls = drop.change, []

    def dies_at_the_third(*arguments):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        change(*arguments)

    with monkeypatch.context() as crash:
        crash.setattr(drop, "change", dies_at_the_third)
        with pytest.raises(KeyboardInterrupt):
            run(trail)
    half = trail.verify()
    assert half.findings == []
    assert "still there" in " ".join(half.remarks)

    run(trail)

    report = trail.verify(archives=files(trail))
    assert (report.findings, report.remarks) == ([], [])


def test_triggers_protect_what_is_left(archived: Trail):
    [(enabled,)] = archived.query("SELECT bool_and(tgenabled = 'O') FROM pg_trigger WHERE tgname = 'append_only'")
    assert enabled


# --- What it refuses, and what is found ----------------------------------------------------------------------------


def test_nothing_is_archived_that_was_tampered_with(trail: Trail):
    trail.tamper("UPDATE alerts_audit_view SET what = 'nothing' WHERE id = 1")

    with pytest.raises(ArchiveError, match="view 1"):
        run(trail)

    assert trail.query("SELECT count(*) FROM alerts_audit_delivery") == [(6,)]


def test_nothing_is_dropped_without_the_file(trail: Trail, monkeypatch):
    with monkeypatch.context() as crash:
        crash.setattr(steps, "_finish_one", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(trail)
    files(trail)[0].unlink()

    with pytest.raises(ArchiveError, match="restore it"):
        run(trail)

    assert trail.query("SELECT count(*) FROM alerts_audit_delivery") == [(6,)]


def test_only_the_owner_of_the_schema_archives(trail: Trail):
    with trail.used():
        connections["owner"] = connections["default"]
        with pytest.raises(ArchiveError, match="must be owner of table"):
            archive(before=datetime.now(UTC), directory=trail.directory, by="eve", progress=lambda *_: None)

    assert trail.query("SELECT count(*) FROM alerts_audit_archive") == [(0,)]


def test_nothing_goes_on_after_an_archive_whose_end_is_gone(trail: Trail):
    run(trail)
    trail.tamper("DELETE FROM alerts_audit_checkpoint WHERE size = 19")

    with pytest.raises(Invalid, match="is missing: run verify_audit"):
        run(trail, checkpoint=100)


def test_nothing_is_dropped_without_a_signature(trail: Trail):
    (trail.directory / "signing_key").unlink()

    with pytest.raises(SealError):
        run(trail)

    assert trail.query("SELECT count(*) FROM alerts_audit_delivery") == [(6,)]


def test_an_archive_that_was_slipped_in_covers_up_nothing(trail: Trail):
    with trail.used():
        Archive.objects.create(
            first_leaf=0, end_leaf=19, last_input=0, file_name="x", file_sha256=bytes(32), carried={}, by="eve"
        )
        seal()
    trail.tamper("DELETE FROM alerts_audit_leaf WHERE number < 9")

    found = trail.found()

    assert ("archive_unsigned", "archive 1") in found
    assert ("leaf_missing", "leaves 0 to 8") in found


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("UPDATE alerts_audit_review SET text = 'never' WHERE id = 1", ("row_changed", "review 1")),
        ("DELETE FROM alerts_audit_review WHERE id = 1", ("row_missing", "review 1")),
        ("DELETE FROM alerts_audit_leaf WHERE kind = 'review' AND ref = 1", ("leaf_missing", "leaf 6")),
        ("UPDATE alerts_audit_leaf SET hash = sha256('') WHERE kind = 'gap' AND ref = 1", ("leaf_changed", "leaf 7")),
        ("UPDATE alerts_audit_archive SET end_leaf = 9", ("archive_unsigned", "archive 1")),
        ("DELETE FROM alerts_audit_checkpoint WHERE size = 19", ("checkpoint_missing", "archive 1")),
    ],
)
def test_tampering_with_what_was_kept_is_named(archived: Trail, tmp_path, statement, expected):
    trail = archived.copy(tmp_path / "audit")
    trail.tamper(statement)

    assert expected in trail.found()


# --- The projection that stays though its inputs are gone -----------------------------------------------------------


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("UPDATE alerts_audit_episode SET starts_at = '2020-01-01' WHERE id = 1", "episodes among 0 to 999"),
        ("DELETE FROM alerts_audit_episode WHERE id = 1", "episodes among 0 to 999"),
        ("UPDATE alerts_audit_transition SET note = 'x' WHERE id = 2", "transitions among 0 to 999"),
        ("DELETE FROM alerts_audit_envelope WHERE delivery_id = 2", "envelopes of deliveries among 0 to 999"),
    ],
)
def test_tampering_with_what_an_archive_left_is_named(trail: Trail, statement, said):
    again(trail)
    run(trail, checkpoint=9)
    assert trail.verify().findings == []

    trail.tamper(statement)

    assert [finding.detail for finding in trail.verify().findings] == [f"{said} differ from what archive 1 recorded"]


def again(trail: Trail) -> None:
    """Make alert 0 fire again, so that its first episode is past and cannot be carried over."""
    with trail.used():
        make_delivery(alertmanager_body("Alert0").replace(b"13:40", b"15:40"))
        project()
        seal()


def test_the_remains_of_several_archives_are_distinguished(trail: Trail):
    run(trail)
    again(trail)
    run(trail, checkpoint=9)
    with trail.used():
        assert Archive.objects.count() == 2
        assert not Input.objects.exists()
    assert trail.verify().findings == []

    trail.tamper("UPDATE alerts_audit_episode SET summary = 'x' WHERE id = 1")

    # Carried on by the first archive, it is past in the second one.
    (found,) = trail.verify().findings
    assert found.detail == "episodes among 0 to 999 differ from what archive 2 recorded"


def test_a_column_name_in_an_archive_never_runs_as_sql(trail: Trail):
    run(trail)
    sql = """id" / (SELECT 0), row."id"""
    change = "carried = jsonb_set(carried, '{left,transition,columns,0}', to_jsonb(%s::text))"
    trail.tamper(f"UPDATE alerts_audit_archive SET {change}", values=(sql,))

    details = [finding.detail for finding in trail.verify().findings]

    assert "transitions among 0 to 999 differ from what archive 1 recorded" in details
    assert not [detail for detail in details if "cannot be replayed" in detail]


def test_an_archive_from_before_that_was_kept_is_no_finding(trail: Trail):
    run(trail)
    trail.tamper("UPDATE alerts_audit_archive SET carried = carried - 'left'")

    assert "projection" not in {finding.code for finding in trail.verify().findings}


def test_nothing_is_archived_whose_projection_was_tampered_with(trail: Trail):
    trail.tamper("UPDATE alerts_audit_transition SET note = 'x' WHERE id = 1")

    with pytest.raises(ArchiveError, match="inputs say: transitions among 0 to 999"):
        run(trail)

    with trail.used():
        assert not Archive.objects.exists()
        assert Input.objects.filter(number=1).exists()


def rewrite(path: Path, change, directory: Path) -> Path:
    """A changed copy."""
    copy = directory / path.name
    copy.write_bytes(gzip.compress(change(gzip.decompress(path.read_bytes()))))
    return copy


def test_a_file_of_another_trail_is_named(archived: Trail, tmp_path):
    other = rewrite(files(archived)[0], lambda content: content.replace(b"Alert1", b"Alert9"), tmp_path)

    report = archived.verify(archives=[*files(archived), other])

    assert report.findings == []
    assert report.remarks == [f"{other} was not verified: it is not the file of an archive of this trail."]


def test_another_file_is_not_taken_for_the_archive(archived: Trail, tmp_path):
    other = rewrite(files(archived)[0], lambda content: content.replace(b"Alert1", b"Alert9"), tmp_path)

    assert archived.found(archives=[other]) == [("archive_file", "archive 1")]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda content: content.replace(b'"user":"ann"', b'"user":"bob"', 1), "do not lead to the root"),
        (lambda content: content.replace(b'"body":"ey', b'"body":"ez', 1), "SHA-256"),
        (lambda content: b"".join(content.splitlines(keepends=True)[:-1]), "has no end"),
        (lambda content: b"".join([*content.splitlines(keepends=True)[:3], b'{"end":19}']), "ends with 2 leaves"),
        (lambda content: content.replace(b'"number":7', b'"number":8', 1), "lacks leaf 7"),
        (lambda content: b"{}\n", "no archive"),
        (lambda content: content[:-5], "cannot be read"),
    ],
)
def test_a_changed_file_is_refused(archived: Trail, tmp_path, change, said):
    changed = rewrite(files(archived)[0], change, tmp_path)
    with archived.used():
        trust = Trust(public_keys())

    with pytest.raises(Invalid, match=said):
        check(changed, frontier=Frontier(), trust=trust)


# --- The command ---------------------------------------------------------------------------------------------------


def command(trail: Trail, *arguments: str) -> str:
    out = StringIO()
    with trail.used():
        call_command("archive_audit", *arguments, stdout=out)
    return out.getvalue()


def test_the_command_says_what_it_did_and_where_the_evidence_is_now(trail: Trail):
    tomorrow = datetime.now(UTC) + timedelta(days=1)

    assert "Would archive leaves 0 to 27" in command(trail, "--before", tomorrow.isoformat(), "--dry-run")
    said = command(trail, "--before", tomorrow.isoformat(), "--by", "ann")

    assert f"Archived leaves 0 to 27 in {files(trail)[0]}; " in said
    assert trail.query("SELECT by FROM alerts_audit_archive") == [("ann",)]
    assert trail.verify(archives=files(trail)).findings == []


def test_the_command_says_that_there_is_nothing(trail: Trail):
    assert command(trail, "--before", "2020-01-01") == "There is nothing to archive.\n"


def test_the_command_says_why_it_does_nothing(trail: Trail):
    trail.tamper("DELETE FROM alerts_audit_view WHERE id = 1")

    with pytest.raises(CommandError, match="view 1"):
        command(trail, "--before", "2100-01-01")


def test_deliveries_are_stored_while_rows_are_dropped(trail: Trail):
    """The longest wait is bounded: half a second of it is the lock's, the rest a busy machine's."""
    longest, stop = [0.0], threading.Event()

    def deliver() -> None:
        with psycopg.connect(trail.server.url("app", trail.name), autocommit=True) as connection:
            while not stop.is_set():
                began = time.monotonic()
                connection.execute(
                    "INSERT INTO alerts_audit_delivery (source, body, sha256, size) VALUES ('s', '', sha256(''), 0)"
                )
                longest[0] = max(longest[0], time.monotonic() - began)

    thread = threading.Thread(target=deliver)
    thread.start()
    try:
        run(trail)
    finally:
        stop.set()
        thread.join()

    assert 0 < longest[0] < 3 * slowness()
