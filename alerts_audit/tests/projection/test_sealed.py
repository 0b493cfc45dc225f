"""The projection beside the seal: what is certain of an episode, and that a rebuild takes nothing from the evidence."""

from io import StringIO

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command

from alerts_audit.models import Checkpoint, Episode, Leaf, Review
from alerts_audit.reviews import services as reviews
from alerts_audit.seal.sealer import seal
from alerts_audit.selectors.episode_detail import Sealed, get_row_seals
from alerts_audit.selectors.episodes import summarize_episodes
from alerts_audit.tests.projection.trail import Trail

# --- Whether an episode is sealed ------------------------------------------------------------------------------


@pytest.fixture
def trail(lone_trail: Trail) -> Trail:
    """One alert that fires, sealed."""
    lone_trail.fires(0)
    lone_trail.project()
    seal()
    return lone_trail


def seals(trail: Trail) -> list[str]:
    return [summary.seal for summary in summarize_episodes(trail.episodes())]


def test_an_episode_waits_until_its_beginning_is_sealed(lone_trail):
    lone_trail.fires(0)
    lone_trail.project()
    assert seals(lone_trail) == ["waiting"]

    seal()
    assert seals(lone_trail) == ["sealed"]


def test_a_repeated_notification_keeps_the_seal_status(trail):
    before = trail.episodes()[0].last_input
    trail.sees(1, known=True, silenced_by="s-1")
    trail.sees(2, known=True)
    trail.fires(3)
    trail.fires(3, peer="b")
    trail.project()

    assert trail.episodes()[0].last_input > before
    assert seals(trail) == ["sealed"]


def test_a_new_state_waits_for_its_own_seal(trail):
    trail.ends(6)
    trail.project()
    assert seals(trail) == ["waiting"]

    seal()
    assert seals(trail) == ["sealed"]


def test_a_state_that_time_brought_waits_for_its_own_seal_too(trail, settings):
    settings.AUDIT_STALE_SECONDS = 60
    assert trail.tick() == 1
    assert seals(trail) == ["waiting"]

    seal()
    assert seals(trail) == ["sealed"]


def test_one_episode_that_waits_keeps_none_of_the_others(trail):
    trail.ends(6)
    trail.project()
    seal()
    trail.fires(20, since=19)
    trail.project()

    assert seals(trail) == ["sealed", "waiting"]


def test_a_page_of_episodes_takes_few_questions(trail, django_assert_max_num_queries):
    for minute in range(10, 40, 10):
        trail.fires(minute, since=minute)
    trail.project()
    seal()

    episodes = trail.episodes()
    with django_assert_max_num_queries(4):
        assert [summary.seal for summary in summarize_episodes(episodes)] == ["sealed"] * 4


def test_the_seals_of_many_rows_take_few_questions(trail, django_assert_max_num_queries):
    sealed = []
    for minute in range(1, 5):
        sealed.append(trail.fires(minute))
        trail.project()
        seal()
    waiting = trail.fires(5)

    with django_assert_max_num_queries(2):
        seals = get_row_seals({Leaf.Kind.DELIVERY: [*sealed, waiting]})

    checkpoints = Checkpoint.objects.order_by("size")[1:]
    assert [seals[Leaf.Kind.DELIVERY, pk].checkpoint for pk in sealed] == list(checkpoints)
    assert seals[Leaf.Kind.DELIVERY, waiting] == Sealed()


# --- What people said -------------------------------------------------------------------------------------------


def test_reviews_survive_a_rebuild_of_everything(trail):
    trail.ends(6)
    trail.fires(10, since=9)
    trail.another().fires(11)
    trail.project()
    said = review_each(User.objects.create(username="ann"))
    call_command("rebuild_projection", stdout=StringIO())
    seal()
    for table in ("transition", "episode", "identity", "envelope"):
        trail.tamper(f"DELETE FROM alerts_audit_{table}")

    output = StringIO()
    call_command("rebuild_projection", stdout=output)

    assert "Repaired" in output.getvalue()
    assert review_texts() == said
    assert len(said) == 3
    call_command("verify_audit", stdout=output)
    assert "Nothing is wrong." in output.getvalue()


def review_each(author: User) -> dict[int, set[str]]:
    """Every kind of review on every episode, with texts that name it; by the episode's number."""
    for episode in Episode.objects.all():
        mine = {"episode_key": episode.key, "author": author}
        reviews.acknowledge(**mine, text=f"acknowledged {episode.pk}")
        reviews.comment(**mine, text=f"seen {episode.pk}")
        reviews.mark_as_noise(**mine, reason=f"noise {episode.pk}")
        reviews.link_incident(**mine, address=f"https://incidents.example/{episode.pk}")
    return review_texts()


def review_texts() -> dict[int, set[str]]:
    """Return the texts by the episode that a review leads to today."""
    episodes = dict(Episode.objects.values_list("key", "pk"))
    found: dict[int, set[str]] = {}
    for key, text in Review.objects.values_list("episode_key", "text"):
        found.setdefault(episodes[key], set()).add(text)
    return found
