"""`verify_audit` says what it covered and what is wrong, for people and for machines, and the worker runs it."""

import json
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from alerts_audit.models import Leaf, Verification
from alerts_audit.seal.sealer import seal
from alerts_audit.seal.verify import job, report, verify
from alerts_audit.seal.verify.job import verify_regularly
from alerts_audit.tests.seal.trails import Trail, make_gap

SPOIL = "UPDATE alerts_audit_review SET text = 'never seen' WHERE id = 1"


def run(trail: Trail, *arguments: str) -> tuple[int, str]:
    """The exit code, and what it printed."""
    out = StringIO()
    with trail.used():
        try:
            call_command("verify_audit", *arguments, stdout=out)
        except CommandError as error:
            return error.returncode, f"{out.getvalue()}{error}"
    return 0, out.getvalue()


def test_the_report_of_a_clean_trail_names_its_coverage(trail: Trail):
    code, said = run(trail)

    assert code == 0
    for line in ("of a log of 28 leaves (everything)", "  leaves: 28", "  checkpoints: 4", "  rows: review: 3"):
        assert line in said
    assert "  checkpoints in the file: 4" in said
    assert "  inputs replayed: 9" in said
    assert said.rstrip().endswith("Nothing is wrong.")


def test_a_finding_is_a_sentence_that_names_the_row(trail: Trail):
    trail.tamper(SPOIL)

    code, said = run(trail)

    assert code == 1
    assert "WRONG review 1: it differs from what was sealed as leaf 6\n" in said
    assert said.endswith(
        "The trail differs from what was sealed: 1 finding."
        " The first: review 1: it differs from what was sealed as leaf 6."
    )


def test_machines_get_json(trail: Trail):
    trail.tamper(SPOIL)

    code, said = run(trail, "--json")
    document = json.JSONDecoder().raw_decode(said)[0]

    assert (code, document["ok"], document["tree_size"]) == (1, False, 28)
    assert document["findings"] == [
        {"code": "row_changed", "subject": "review 1", "detail": "it differs from what was sealed as leaf 6"}
    ]
    assert document["covered"]["leaves"] == 28


def test_a_window_says_where_it_begins(trail: Trail):
    [(at,)] = trail.query("SELECT at FROM alerts_audit_checkpoint WHERE id = 3")

    code, said = run(trail, "--since", at.isoformat())

    assert code == 0
    assert "since checkpoint 3 of 20" in said


def test_a_window_from_before_the_first_checkpoint_is_not_everything(trail: Trail):
    code, said = run(trail, "--since", "2020-01-01")

    assert code == 0
    assert "(since the first checkpoint)" in said
    assert "inputs replayed" not in said
    assert "Mind: The projection and the list of open gaps were not verified" in said


def test_a_window_that_has_not_begun_is_refused(trail: Trail):
    assert run(trail, "--since", "2100-01-01") == (2, "Nothing was verified: --since is in the future.")


def test_a_verification_that_cannot_run_exits_with_two(trail: Trail):
    (trail.directory / "public_keys").unlink()

    code, said = run(trail)

    assert (code, said[:21]) == (2, "Nothing was verified:")


def test_a_missing_table_is_no_finding(trail: Trail):
    trail.tamper("ALTER TABLE alerts_audit_review RENAME TO elsewhere")

    code, said = run(trail)

    assert code == 2
    assert said.startswith("The trail could not be verified: ")


def test_an_archive_that_is_not_there_exits_with_two(trail: Trail, tmp_path):
    with trail.used():
        from alerts_audit.seal.archive.archive import archive

        archive(before=timezone.now(), directory=tmp_path, by="ann", progress=lambda *_: None)

    assert run(trail, "--archive", str(tmp_path / "none"))[0] == 2


def test_a_file_is_not_verified_by_a_trail_without_archives(trail: Trail, tmp_path):
    """It was ignored, and nothing was wrong."""
    (tmp_path / "other.jsonl.gz").write_bytes(b"")

    code, said = run(trail, "--archive", str(tmp_path / "other.jsonl.gz"))

    assert code == 2
    assert said == (
        "Nothing was verified: nothing of this trail was archived,"
        f" so {tmp_path / 'other.jsonl.gz'} is not one of its archives."
    )


def test_nothing_sealed_is_no_finding(new_trail: Trail):
    code, said = run(new_trail)

    assert code == 0
    assert "Nothing was sealed yet." in said


def test_each_run_is_kept(trail: Trail):
    trail.tamper(SPOIL)
    with trail.used():
        verify()
        kept = Verification.objects.latest("id")

        assert (kept.ok, kept.tree_size, kept.covered["leaves"]) == (False, 28, 28)
        assert kept.findings[0]["subject"] == "review 1"
        assert kept.seconds > 0


def test_very_many_findings_are_counted(trail: Trail, monkeypatch):
    monkeypatch.setattr(report, "MAX_FINDINGS", 3)
    trail.tamper("UPDATE alerts_audit_delivery SET source = 'eve'")

    found = trail.verify(projection=False).documents()

    assert len(found) == 4
    assert found[-1]["detail"] == "and 3 more"


def test_progress_is_reported(trail: Trail):
    steps = []

    trail.verify(progress=lambda what, done, total: steps.append(what))

    assert {"leaves", "rows without a leaf: delivery"} <= set(steps)


# --- The worker's turns --------------------------------------------------------------------------------------------


def windows(trail: Trail) -> list[str]:
    return [
        window for (window,) in trail.query("SELECT covered ->> 'window' FROM alerts_audit_verification ORDER BY id")
    ]


def test_the_first_turn_verifies_everything_and_the_next_what_is_new(trail: Trail, settings):
    settings.AUDIT_VERIFY_SECONDS = 0
    with trail.used():
        verify_regularly()
        make_gap()
        verify_regularly()

    first, second = windows(trail)
    assert first == "everything"
    assert second.startswith("since checkpoint ")


def test_rows_that_wait_for_their_leaf_after_an_outage_are_sealed_before_they_are_verified(trail: Trail):
    old = "UPDATE alerts_audit_gap SET at = now() - interval '1 hour' WHERE id = %s"
    with trail.used():
        gap = make_gap()
        trail.tamper(old, values=(gap.pk,))

        assert verify_regularly().ok
        assert Leaf.objects.filter(kind="gap", ref=gap.pk).exists()


def test_after_a_day_everything_is_verified_again(trail: Trail, monkeypatch):
    with trail.used():
        verify_regularly()
        monkeypatch.setattr(job, "FULL_EVERY", timedelta(0))
        verify_regularly()

    assert windows(trail) == ["everything", "everything"]


@pytest.fixture
def found_out(trail: Trail, settings) -> Trail:
    """It was right, and a window had a finding; that window has moved on."""
    with trail.used():
        assert verify_regularly().ok
    trail.tamper(SPOIL)
    with trail.used():
        assert not verify_regularly().ok
    settings.AUDIT_VERIFY_SECONDS = 0
    return trail


def test_a_finding_of_a_window_stays_when_the_window_has_moved_on(found_out: Trail):
    with found_out.used():
        assert not verify_regularly().ok

    assert windows(found_out)[-1] == "everything"


def test_a_part_that_is_right_does_not_end_the_look_at_everything(found_out: Trail):
    with found_out.used():
        make_gap()
        seal()
        assert verify(since=timezone.now()).ok

        assert not verify_regularly().ok

    assert windows(found_out)[-1] == "everything"


def test_a_finding_stays_until_all_is_right_again(trail: Trail, caplog):
    trail.tamper(SPOIL)
    with trail.used():
        for _ in range(2):
            assert not verify_regularly().ok
    trail.tamper("UPDATE alerts_audit_review SET text = 'seen' WHERE id = 1")
    with trail.used():
        assert verify_regularly().ok

    assert [record.subject for record in caplog.records if record.getMessage() == "audit_finding"] == ["review 1"] * 2
