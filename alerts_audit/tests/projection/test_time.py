"""Polls of Alertmanager, and alerts without further updates."""

from datetime import timedelta

import pytest
from django.test import override_settings

from alerts_audit.models import Input, Transition
from alerts_audit.tests.projection.trail import Trail


@pytest.fixture
def trail(lone_trail: Trail) -> Trail:
    """A tick looks at every episode there is."""
    return lone_trail


@pytest.fixture(autouse=True)
def _settings():
    with override_settings(AUDIT_STALE_SECONDS=8 * 3600, AUDIT_UNKNOWN_SECONDS=900):
        yield


def last_note(trail: Trail) -> str | None:
    return Transition.objects.filter(episode__in=trail.episodes()).order_by("-pk").values_list("note", flat=True)[0]


def state(trail: Trail) -> str:
    return trail.episodes()[-1].state


# --- Stale ---------------------------------------------------------------------------------------------------


def test_an_alert_repeated_in_time_is_not_stale(trail):
    trail.fires(0)
    trail.fires(240)
    trail.project()

    assert trail.tick() == 0
    assert state(trail) == "firing"


def test_an_alert_without_news_is_stale(trail):
    trail.fires(0)
    trail.project()

    assert trail.tick() == 1
    assert trail.story() == [("stale", 0.0, None, ["firing", "stale"])]
    assert trail.differences() == []


def test_a_tick_that_changes_nothing_leaves_no_input(trail):
    trail.fires(590)
    trail.project()
    before = Input.objects.count()

    assert trail.tick() == 0
    assert Input.objects.count() == before


def test_a_rebuild_goes_by_the_settings_of_that_time(trail):
    trail.fires(0)
    trail.project()
    trail.tick()

    with override_settings(AUDIT_STALE_SECONDS=10**9, AUDIT_UNKNOWN_SECONDS=10**9):
        assert trail.differences() == []


def test_news_after_a_stale_end_is_a_new_episode(trail):
    trail.fires(0)
    trail.project()
    trail.tick()
    trail.fires(599)
    trail.project()

    assert trail.story() == [("stale", 0.0, None, ["firing", "stale"]), ("firing", 0.0, None, ["firing"])]
    assert last_note(trail) == "heard of again"


def test_the_end_of_a_stale_episode_may_arrive_late(trail):
    trail.fires(0)
    trail.project()
    trail.tick()
    trail.ends(599)
    trail.project()

    assert trail.story() == [("resolved", 0.0, 5.0, ["firing", "stale", "resolved"])]
    assert trail.differences() == []


def test_an_alert_that_alertmanager_still_has_is_not_stale(trail):
    trail.fires(0)
    for peer in "ab":
        trail.sees(1, peer, known=True)
    trail.polls(599, "a", "b")
    trail.project()

    assert trail.tick() == 0
    assert state(trail) == "firing"


def test_an_alert_of_an_old_poll_is_stale(trail):
    trail.fires(0)
    trail.sees(1, known=True)
    trail.polls(60, "a")
    trail.project()

    assert trail.tick() == 1
    assert state(trail) == "stale"
    assert trail.differences() == []


# --- Unknown -------------------------------------------------------------------------------------------------


def test_an_alert_that_no_alertmanager_has_becomes_unknown(trail):
    trail.fires(500)
    for peer in "ab":
        trail.sees(550, peer, known=False)
    trail.polls(599, "a", "b")
    trail.project()

    assert trail.tick() == 1
    assert trail.story() == [("unknown", 0.0, None, ["firing", "unknown"])]
    assert trail.differences() == []


@pytest.mark.parametrize(
    ("absent_at", "polled_until", "why"),
    [(590, 599, "its end may still be reported"), (550, 551, "it was not asked for long enough")],
)
def test_it_is_not_given_up_too_early(trail, absent_at, polled_until, why):
    trail.fires(500)
    for peer in "ab":
        trail.sees(absent_at, peer, known=False)
    trail.polls(polled_until, "a", "b")
    trail.project()

    assert trail.tick() == 0, why


def test_it_is_not_given_up_while_one_peer_has_it(trail):
    trail.fires(500)
    trail.sees(550, "a", known=False)
    trail.sees(550, "b", known=True)
    trail.polls(599, "a", "b")
    trail.project()

    assert trail.tick() == 0


def test_it_is_not_given_up_while_one_peer_cannot_be_asked(trail):
    trail.fires(500)
    trail.sees(550, "a", known=False)
    trail.polls(599, "a")
    trail.project()

    assert trail.tick() == 0


def test_an_alert_that_is_back_is_not_given_up(trail):
    trail.fires(500)
    for peer in "ab":
        trail.sees(550, peer, known=False)
        trail.sees(595, peer, known=True)
    trail.polls(599, "a", "b")
    trail.project()

    assert trail.tick() == 0


def test_a_delivery_after_it_was_missing_counts_more(trail):
    trail.fires(500)
    for peer in "ab":
        trail.sees(550, peer, known=False)
    for peer in "ab":
        trail.fires(595, peer=peer)
    trail.polls(599, "a", "b")
    trail.project()

    assert trail.tick() == 0


def test_an_answer_from_before_the_delivery_says_nothing_about_it(trail):
    for peer in "ab":
        trail.sees(500, peer, known=False)
    trail.fires(595)
    trail.polls(599, "a", "b")
    trail.project()

    assert trail.tick() == 0


def test_an_answer_from_before_the_delivery_that_holds_on_says_it_is_gone(trail):
    for peer in "ab":
        trail.sees(400, peer, known=False)
    trail.fires(500)
    trail.polls(599, "a", "b")
    trail.project()

    assert trail.tick() == 1
    assert state(trail) == "unknown"
    assert trail.differences() == []


def test_the_note_names_the_silence_of_an_end_that_did_not_arrive(trail):
    trail.fires(500)
    for peer in "ab":
        trail.sees(510, peer, known=True, silenced_by="s-1")
        trail.sees(550, peer, known=False)
    trail.polls(599, "a", "b")
    trail.project()
    trail.tick()

    assert state(trail) == "unknown"
    assert "suppressed by silence s-1" in (last_note(trail) or "")
    assert trail.differences() == []


def test_the_end_of_an_unknown_episode_may_arrive_late(trail):
    trail.fires(500)
    for peer in "ab":
        trail.sees(550, peer, known=False)
    trail.polls(599, "a", "b")
    trail.project()
    trail.tick()
    trail.ends(599, at=540)
    trail.project()

    assert trail.story() == [("resolved", 0.0, 540.0, ["firing", "unknown", "resolved"])]


def test_an_episode_that_an_observation_opens_again_has_the_texts_of_the_one_before(trail):
    trail.fires(0)
    trail.ends(6)
    trail.fires(6.2, peer="b")
    trail.sees(7, "b", known=True)
    trail.project()

    first, second = trail.episodes()
    assert (second.summary, second.annotations) == (first.summary, first.annotations)
    assert (second.deliveries, second.opened_at) == (0, trail.zero + timedelta(minutes=7))
    assert trail.differences() == []


def test_seeing_it_again_and_again_writes_nothing(trail):
    trail.fires(0)
    trail.project()
    before = trail.episodes()[0]
    trail.sees(1, known=True)
    trail.sees(2, known=True)
    trail.project()

    assert trail.episodes()[0].last_input == before.last_input


def test_an_observation_of_another_kind_changes_nothing(trail):
    trail.fires(500)
    trail.project()
    trail.tamper(
        "INSERT INTO alerts_audit_observation (source, kind, observed_at, body, sha256)"
        " VALUES (%s, 'prometheus', now(), '{}', sha256('{}'))",
        trail.source("a"),
    )
    trail.query(
        "INSERT INTO alerts_audit_pending (kind, ref, at) SELECT 'observation', max(id), now()"
        " FROM alerts_audit_observation RETURNING 1"
    )

    assert trail.project() == 1
    assert trail.story() == [("firing", 0.0, None, ["firing"])]
