"""Statistics of a period: the arithmetic, by hand."""

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection

from alerts_audit.models import Review
from alerts_audit.selectors.statistics import statistics
from alerts_audit.tests.factories import make_episode, make_identity

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _alone():
    """Other tests' episodes are out of sight: everything here is rolled back."""
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM alerts_audit_episode")


def ago(**span: float) -> datetime:
    return datetime.now(UTC) - timedelta(**span)


def say(episode, kind: str, *, after: timedelta) -> None:
    at = episode.opened_at + after
    Review.objects.create(episode_key=episode.key, kind=kind, text="x", author="m", author_id=1, at=at)


def test_without_alerts_there_is_nothing_to_take_a_mean_of():
    found = statistics(days=7)

    assert (found["alerts"], found["top"]) == (0, [])
    assert [row["alerts"] for row in found["by_day"]] == [0] * 8  # the first and the last day in part
    assert (found["mtta_seconds"], found["mttr_seconds"], found["noise_share"]) == (None, None, None)


def test_times_to_acknowledge_and_resolve_are_means_of_those_that_were():
    quick, slow, open_one = (
        make_episode(starts_at=ago(hours=3)),
        make_episode(starts_at=ago(hours=2)),
        make_episode(starts_at=ago(hours=1), state="firing"),
    )
    say(quick, "acknowledge", after=timedelta(minutes=1))
    say(slow, "acknowledge", after=timedelta(minutes=4))
    found = statistics(days=7)

    assert (found["alerts"], found["firing"], found["acknowledged"]) == (3, 1, 2)
    assert found["mtta_seconds"] == pytest.approx(150)
    assert found["mttr_seconds"] == pytest.approx(600)
    assert open_one.state == "firing"


def test_an_episode_marked_as_noise_twice_counts_once():
    noise = make_episode(starts_at=ago(hours=3))
    make_episode(starts_at=ago(hours=2))
    for minutes in (1, 2):
        say(noise, "noise", after=timedelta(minutes=minutes))

    assert statistics(days=7)["noise_share"] == 0.5


def test_alerts_are_counted_by_day_and_name():
    often, seldom = make_identity("Often"), make_identity("Seldom", severity="warning")
    for identity, days in ((often, 1), (often, 2), (seldom, 2)):
        make_episode(identity, starts_at=ago(days=days, hours=1))
    found = statistics(days=7)

    assert sum(row["alerts"] for row in found["by_day"]) == 3
    assert [(row["alertname"], row["alerts"]) for row in found["top"]] == [("Often", 2), ("Seldom", 1)]
    assert {row["severity"]: row["alerts"] for row in found["by_severity"]} == {"critical": 2, "warning": 1}
    assert found["alerts_per_day"] == pytest.approx(3 / 7, abs=0.01)


def test_a_heartbeat_is_no_alert_and_in_no_figure():
    beat = make_episode(make_identity("Watchdog", severity="none"), state="firing", starts_at=ago(days=1))
    Review.objects.create(episode_key=beat.key, kind="noise", text="x", author="m", author_id=1)
    say(beat, "acknowledge", after=timedelta(minutes=1))
    make_episode(make_identity("NoSeverity", severity=""), state="firing", starts_at=ago(days=1))
    found = statistics(days=7)

    assert (found["alerts"], found["firing"], found["acknowledged"], found["noise"]) == (1, 1, 0, 0)
    assert sum(row["alerts"] for row in found["by_day"]) == 1
    assert [row["alertname"] for row in found["top"]] == ["NoSeverity"]
    assert "Watchdog" in found["not_counted"]


def test_episodes_before_the_period_are_left_out():
    old = make_episode(starts_at=ago(days=8))
    say(old, "acknowledge", after=timedelta(days=2))

    assert statistics(days=7)["alerts"] == 0
    assert statistics(days=7)["acknowledged"] == 0
    assert statistics(days=30)["acknowledged"] == 1


def test_it_reads_through_the_index_of_the_time():
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute("EXPLAIN SELECT count(*) FROM alerts_audit_episode WHERE opened_at >= now() - interval '7 days'")
        assert "episode_opened_at" in str(cursor.fetchall())
