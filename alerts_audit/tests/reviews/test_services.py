"""Reviews of an episode: the first acknowledgement counts, nothing changes, and nothing unsafe is stored."""

from uuid import uuid4

import pytest

from alerts_audit.models import Review
from alerts_audit.reviews.services import (
    MAX_TEXT,
    AlreadyAcknowledged,
    InvalidText,
    ReviewError,
    UnknownEpisode,
    acknowledge,
    acknowledge_many,
    comment,
    link_incident,
    mark_as_noise,
    review,
)
from alerts_audit.tests.factories import make_episode, responder

pytestmark = pytest.mark.django_db


def reviews_of(episode):
    return [(row.kind, row.text, row.author) for row in Review.objects.filter(episode_key=episode.key).order_by("id")]


def test_an_acknowledgement_names_its_author_and_time():
    person, episode = responder(), make_episode()
    row = acknowledge(episode_key=episode.key, author=person)

    assert (row.kind, row.author, row.author_id) == ("acknowledge", person.username, person.pk)
    assert row.at is not None


def test_the_first_acknowledgement_counts():
    first, second, episode = responder(), responder(), make_episode()
    acknowledge(episode_key=episode.key, author=first)

    with pytest.raises(AlreadyAcknowledged, match=f"{first.username} acknowledged the alert at .* UTC"):
        acknowledge(episode_key=episode.key, author=second)
    assert reviews_of(episode) == [("acknowledge", "", first.username)]


def test_many_are_acknowledged_at_once_and_those_that_were_stay_as_they_are():
    first, second = responder(), responder()
    old, new = make_episode(), make_episode()
    acknowledge(episode_key=old.key, author=first)

    assert acknowledge_many(episode_keys=[new.key, old.key, uuid4()], author=second) == {new.key}
    assert reviews_of(old) == [("acknowledge", "", first.username)]


def test_all_reviews_are_kept_in_order():
    person, episode = responder(), make_episode()
    comment(episode_key=episode.key, author=person, text=" Looking ")
    mark_as_noise(episode_key=episode.key, author=person, reason="The threshold is too low.")
    link_incident(episode_key=episode.key, author=person, address="https://incidents.example/INC-7")

    assert [(kind, text) for kind, text, _ in reviews_of(episode)] == [
        ("comment", "Looking"),
        ("noise", "The threshold is too low."),
        ("incident", "https://incidents.example/INC-7"),
    ]


@pytest.mark.parametrize("kind", Review.Kind.values)
def test_an_unknown_episode_cannot_be_reviewed(kind):
    with pytest.raises(UnknownEpisode):
        review(episode_key=uuid4(), kind=kind, author=responder(), text="https://incidents.example/7")


@pytest.mark.parametrize("kind", ["comment", "noise", "incident"])
@pytest.mark.parametrize("text", ["", "   ", "\u200b", "\u200b \u2060\ufeff"])
def test_saying_nothing_is_refused(kind, text):
    episode = make_episode()

    with pytest.raises(InvalidText):
        review(episode_key=episode.key, kind=kind, author=responder(), text=text)
    assert reviews_of(episode) == []


@pytest.mark.parametrize("text", ["a\0b", "x" * (MAX_TEXT + 1), "card 4111 1111 1111 1111"])
def test_a_note_that_the_trail_cannot_store_is_refused(text):
    with pytest.raises(InvalidText):
        comment(episode_key=make_episode().key, author=responder(), text=text)


@pytest.mark.parametrize(
    "address",
    [
        "javascript:alert(1)",
        "JAVASCRIPT:alert(1)//http://x",
        " java\nscript:alert(1)",
        "data:text/html,<script>alert(1)</script>",
        "ftp://example.org/7",
        "//example.org/7",
        "INC-7",
        "http://",
        'https://example.org/"onclick="x',
        "https://user:password@example.org/",
    ],
)
def test_an_incident_is_linked_by_a_web_address_only(address):
    episode = make_episode()

    with pytest.raises(InvalidText):
        link_incident(episode_key=episode.key, author=responder(), address=address)
    assert reviews_of(episode) == []


def test_an_address_that_holds_a_moment_is_no_card_number():
    address = "https://chat.example/archives/C1/p1700000000123458"
    assert link_incident(episode_key=make_episode().key, author=responder(), address=address).text == address


def test_there_is_no_other_kind_of_review():
    with pytest.raises(ReviewError, match="acknowledge, comment, noise, incident"):
        review(episode_key=make_episode().key, kind="delete", author=responder())
