"""Any change of the projection is reported, and a rebuild repairs it."""

from importlib import import_module
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from alerts_audit.models import Archive, Delivery, Episode, Input, Pending, Review
from alerts_audit.projection import carried_state, rebuild
from alerts_audit.seal.sealer import seal
from alerts_audit.tests.projection.trail import Trail


@pytest.fixture
def trail(lone_trail: Trail) -> Trail:
    """Three inputs, two episodes of one alert: the second one is open."""
    lone_trail.fires(0)
    lone_trail.ends(6)
    lone_trail.fires(10, since=9)
    lone_trail.project()
    return lone_trail


TAMPERINGS = {
    "an episode's state": (
        "UPDATE alerts_audit_episode SET state = 'stale' WHERE id = 1",
        "episode 1: state is 'stale', but its inputs say 'resolved'",
    ),
    "an episode's start": (
        "UPDATE alerts_audit_episode SET starts_at = '2026-01-01' WHERE id = 2",
        "episode 2: starts_at is '2026-01-01T00:00:00+00:00', but its inputs say ",
    ),
    "an episode's memory": (
        "UPDATE alerts_audit_episode SET memory = '{}' WHERE id = 2",
        "episode 2: memory is {}, but its inputs say ",
    ),
    "an episode's key": (
        "UPDATE alerts_audit_episode SET key = gen_random_uuid() WHERE id = 1",
        "episode 1: key is ",
    ),
    "an episode is gone": ("DELETE FROM alerts_audit_episode WHERE id = 1", "episode 1 is missing"),
    "an episode that nothing opened": (
        "INSERT INTO alerts_audit_episode (id, key, identity_id, state, alertname, severity, summary, annotations,"
        " generator_url, starts_at, opened_at, closed_at, last_seen_at, opened_input, last_input, deliveries, memory)"
        " SELECT 99, gen_random_uuid(), identity_id, 'resolved', alertname, severity, summary, annotations,"
        " generator_url, starts_at, opened_at, now(), last_seen_at, 1, 1, 1, '{}' FROM alerts_audit_episode LIMIT 1",
        "episode 99 comes from no input",
    ),
    "a transition's time": (
        "UPDATE alerts_audit_transition SET at = '2026-01-01' WHERE id = 2",
        "transition 2: at is '2026-01-01T00:00:00+00:00', but its inputs say ",
    ),
    "a transition is gone": ("DELETE FROM alerts_audit_transition WHERE id = 2", "transition 2 is missing"),
    "a transition that nothing caused": (
        "INSERT INTO alerts_audit_transition (id, episode_id, from_state, to_state, at, source, input_number,"
        " delivery_id, note) SELECT 99, episode_id, from_state, to_state, at, source, 99, delivery_id, note"
        " FROM alerts_audit_transition WHERE id = 1",
        "transition 99 comes from no input",
    ),
    "an envelope's input": (
        "UPDATE alerts_audit_envelope SET input_number = 99 WHERE input_number = 3",
        ": input_number is 99, but its inputs say 3",
    ),
    "an identity's labels": (
        'UPDATE alerts_audit_identity SET labels = \'{"alertname": "Other"}\'',
        "identity 1: labels is {'alertname': 'Other'}, but its inputs say ",
    ),
    "an envelope's receiver": (
        "UPDATE alerts_audit_envelope SET receiver = 'other' WHERE input_number = 1",
        ": receiver is 'other', but its inputs say 'audit'",
    ),
    "an envelope is gone": ("DELETE FROM alerts_audit_envelope WHERE input_number = 1", " is missing"),
    "a delivery was kept from the projector": (
        "INSERT INTO alerts_audit_delivery (source, body, sha256, size) VALUES ('x', '', sha256(''), 0)",
        " was never used, and is not pending",
    ),
}


def test_nothing_differs_without_tampering(trail):
    assert trail.differences() == []


@pytest.mark.parametrize("what", TAMPERINGS)
def test_tampering_is_named_and_mended(trail, what):
    statement, finding = TAMPERINGS[what]
    trail.tamper(statement)

    (found,) = trail.differences()
    assert finding in found

    assert len(rebuild()) == 1
    trail.project()
    assert trail.differences() == []


@pytest.mark.parametrize(
    ("statement", "finding"),
    [
        ("DELETE FROM alerts_audit_delivery WHERE id = (SELECT min(id) FROM alerts_audit_delivery)",
         "input 1: what it refers to, a delivery, is missing"),
        ("DELETE FROM alerts_audit_input WHERE number = 2", "inputs 2 to 2 are missing"),
    ],
)  # fmt: skip
def test_evidence_that_is_missing_is_named(trail, statement, finding):
    trail.tamper(statement)

    assert finding in trail.differences()


def test_evidence_whose_order_was_changed_is_noticed(trail):
    trail.tamper(
        "UPDATE alerts_audit_input SET delivery_id = CASE number WHEN 1 THEN -1 ELSE delivery_id END WHERE number = 1"
    )
    first, second = Delivery.objects.order_by("pk").values_list("pk", flat=True)[:2]
    trail.tamper("UPDATE alerts_audit_input SET delivery_id = %s WHERE number = 2", first)
    trail.tamper("UPDATE alerts_audit_input SET delivery_id = %s WHERE number = 1", second)

    assert any(line.startswith("transition 1:") for line in trail.differences())


def test_reviews_still_belong_to_their_episode_after_everything_was_dropped(trail):
    key = Episode.objects.get(pk=2).key
    Review.objects.create(episode_key=key, kind="comment", text="Seen.", author="ann", author_id=1)
    for table in ("transition", "episode", "identity", "envelope"):
        trail.tamper(f"DELETE FROM alerts_audit_{table}")

    rebuild()

    assert Episode.objects.get(key=key).pk == 2
    assert trail.differences() == []


def test_a_rebuild_puts_what_was_forgotten_among_the_pending(trail):
    trail.fires(20, since=19)
    Pending.objects.all().delete()

    assert rebuild() == [f"delivery {Delivery.objects.latest('pk').pk} was never used"]
    assert trail.project() == 1


def test_a_rebuild_waits_for_no_lock_and_leaves_the_projector_free(trail):
    trail.differences()
    trail.fires(20, since=19)

    assert trail.project() == 1


# --- The command ---------------------------------------------------------------------------------------------


def run(*arguments: str) -> str:
    output = StringIO()
    call_command("rebuild_projection", *arguments, stdout=output)
    return output.getvalue()


def test_the_command_says_that_all_is_well(trail):
    assert run() == "The projection equals its inputs.\n"
    assert run("--dry-run") == "The projection equals its inputs.\n"


def test_a_dry_run_changes_nothing_and_fails(trail):
    trail.tamper("DELETE FROM alerts_audit_transition WHERE id = 2")

    with pytest.raises(CommandError, match="Found 1 difference"):
        run("--dry-run")
    assert trail.differences() == ["transition 2 is missing"]


def test_the_command_names_its_repairs(trail):
    trail.tamper("DELETE FROM alerts_audit_transition WHERE id = 2")

    assert run() == "transition 2 is missing\nRepaired 1 difference.\n"
    assert trail.differences() == []


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM alerts_audit_delivery WHERE id = (SELECT min(id) FROM alerts_audit_delivery)",
        "DELETE FROM alerts_audit_input WHERE number = 2",
        "DELETE FROM alerts_audit_input WHERE number = 3",
    ],
)
def test_the_command_keeps_the_last_trace_of_missing_evidence(trail, statement):
    trail.tamper(statement)
    story = trail.story()

    with pytest.raises(CommandError, match="Nothing was changed, because evidence is missing: "):
        run()
    assert trail.story() == story


def test_sealed_inputs_are_missed_although_no_row_of_the_projection_names_them(trail):
    seal()
    trail.tamper("DELETE FROM alerts_audit_input WHERE number = 3")
    for table in ("envelope", "transition"):
        trail.tamper(f"DELETE FROM alerts_audit_{table} WHERE input_number = 3")

    with pytest.raises(CommandError, match="evidence is missing: inputs 3 to 3 are missing"):
        run()


def test_very_many_differences_are_counted(trail, monkeypatch):
    monkeypatch.setattr(import_module("alerts_audit.projection.rebuild"), "MAX_LINES", 1)
    for table in ("transition", "episode"):
        trail.tamper(f"DELETE FROM alerts_audit_{table}")

    *lines, more, total = run().splitlines()
    assert lines == ["episode 1 is missing", "transition 1 is missing"]
    assert (more, total) == ("and 3 more", "Repaired 5 differences.")
    assert trail.differences() == []


# --- After an archive ----------------------------------------------------------------------------------------


def archive(trail: Trail, last_input: int) -> None:
    """As archiving does: carry the state over, then drop the evidence."""
    carried = carried_state(last_input)
    Archive.objects.create(
        first_leaf=0, end_leaf=1, last_input=last_input, file_name="x", file_sha256=b"x", carried=carried, by="ann"
    )
    for evidence in ("delivery", "observation"):
        trail.tamper(
            f"DELETE FROM alerts_audit_{evidence} WHERE id IN"
            f" (SELECT {evidence}_id FROM alerts_audit_input WHERE number <= %s)",
            last_input,
        )
    trail.tamper("DELETE FROM alerts_audit_input WHERE number <= %s", last_input)


@pytest.mark.parametrize("last_input", [1, 2, 3])
def test_a_rebuild_begins_where_the_archive_ends(trail, last_input):
    archive(trail, last_input)

    assert trail.differences() == []


def test_the_story_goes_on_after_everything_was_archived(trail):
    archive(trail, 3)
    assert not Input.objects.exists()
    trail.ends(30, since=9, at=29)
    trail.fires(40, since=39)

    assert trail.project() == 2

    assert Input.objects.earliest("number").number == 4
    assert [state for state, *_ in trail.story()] == ["resolved", "resolved", "firing"]
    assert trail.differences() == []


def test_tampering_with_what_was_carried_over_is_named(trail):
    archive(trail, 3)
    trail.tamper("UPDATE alerts_audit_episode SET state = 'stale', closed_at = now() WHERE id = 2")

    assert [line for line in trail.differences() if line.startswith("episode 2: state is 'stale'")]


def test_an_archive_upon_an_archive_carries_all_of_it(trail):
    archive(trail, 1)
    archive(trail, 3)
    trail.ends(30, since=9, at=29)
    trail.project()

    assert trail.differences() == []
