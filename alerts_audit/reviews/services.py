"""What people say about an episode. Admin, bulk action and API call these; each adds a row, nothing is changed.

* ReviewError
  - UnknownEpisode         404  there is no such episode
  - AlreadyAcknowledged    409  somebody was first, and that counts
  - InvalidText            422  nothing was said, too much, or no address
"""

from collections.abc import Collection
from datetime import UTC
from typing import Any
from uuid import UUID

from django.contrib.auth.models import User
from django.db import connection
from django.db.transaction import atomic

from alerts_audit.links import web_address
from alerts_audit.models import Episode, Review
from fintech.cards import contains_card_number, without_clock

LONGEST_TEXT = 4000

# Sorted, so that two who acknowledge the same episodes do not wait for each other in a circle.
ACKNOWLEDGE = """
INSERT INTO alerts_audit_review (episode_key, kind, text, author, author_id)
SELECT key, 'acknowledge', %(text)s, %(author)s, %(author_id)s
FROM alerts_audit_episode WHERE key = ANY(%(keys)s) ORDER BY key
ON CONFLICT (episode_key) WHERE kind = 'acknowledge' DO NOTHING
RETURNING episode_key
"""


class ReviewError(Exception):
    status = 422
    code = "invalid_review"
    param: str | None = None


class UnknownEpisode(ReviewError):
    status, code = 404, "not_found"

    def __init__(self) -> None:
        super().__init__("There is no such episode.")


class AlreadyAcknowledged(ReviewError):
    status, code = 409, "already_acknowledged"

    def __init__(self, first: Review) -> None:
        self.first = first
        at = f"{first.at.astimezone(UTC):%Y-%m-%d %H:%M:%S}"
        super().__init__(f"{first.author} acknowledged it at {at} UTC; the first one counts.")


class InvalidText(ReviewError):
    status, code, param = 422, "invalid_text", "text"


def acknowledge(*, episode_key: UUID, author: User, text: str = "") -> Review:
    """Say that somebody takes care of it. Raises UnknownEpisode, AlreadyAcknowledged, InvalidText."""
    is_first = bool(acknowledge_many(episode_keys=[episode_key], author=author, text=text))
    first = Review.objects.filter(episode_key=episode_key, kind=Review.Kind.ACKNOWLEDGE).first()
    if first is None:
        raise UnknownEpisode
    if not is_first:
        raise AlreadyAcknowledged(first)
    return first


def acknowledge_many(*, episode_keys: Collection[UUID], author: User, text: str = "") -> set[UUID]:
    """In one statement; the keys that nobody had acknowledged before."""
    with connection.cursor() as cursor:
        values: dict[str, Any] = {"author": author.get_username(), "author_id": author.pk}
        cursor.execute(ACKNOWLEDGE, {**values, "text": readable_text(text), "keys": list(episode_keys)})
        return {key for (key,) in cursor.fetchall()}


def comment(*, episode_key: UUID, author: User, text: str) -> Review:
    """Raises UnknownEpisode, InvalidText."""
    return _add(episode_key, Review.Kind.COMMENT, author, said(text, "Say something."))


def mark_as_noise(*, episode_key: UUID, author: User, reason: str) -> Review:
    """Raises UnknownEpisode, InvalidText."""
    return _add(episode_key, Review.Kind.NOISE, author, said(reason, "Say why it is noise."))


def link_incident(*, episode_key: UUID, author: User, address: str) -> Review:
    """Raises UnknownEpisode, InvalidText: only an address that begins with http:// or https:// is safe to follow."""
    if web_address(address.strip()) is None:
        raise InvalidText("Use the incident's address, which begins with http:// or https://.")
    return _add(episode_key, Review.Kind.INCIDENT, author, said(address, ""))


def review(*, episode_key: UUID, kind: str, author: User, text: str = "") -> Review:
    """The action that `kind` names, for a form or a request that holds its name. Raises ReviewError."""
    match kind:
        case Review.Kind.ACKNOWLEDGE:
            return acknowledge(episode_key=episode_key, author=author, text=text)
        case Review.Kind.COMMENT:
            return comment(episode_key=episode_key, author=author, text=text)
        case Review.Kind.NOISE:
            return mark_as_noise(episode_key=episode_key, author=author, reason=text)
        case Review.Kind.INCIDENT:
            return link_incident(episode_key=episode_key, author=author, address=text)
    raise ReviewError(f"There is no such review; there are {', '.join(Review.Kind.values)}.")


def said(text: str, advice: str) -> str:
    text = readable_text(text)
    if not text:
        raise InvalidText(advice)
    return text


def readable_text(text: str) -> str:
    """What can be kept for ever: no NUL, which PostgreSQL refuses, and no card number."""
    text = text.strip()
    if len(text) > LONGEST_TEXT:
        raise InvalidText(f"Use at most {LONGEST_TEXT} characters.")
    if "\0" in text:
        raise InvalidText("A text cannot hold the character NUL.")
    if contains_card_number(without_clock(text)):  # an address may hold a moment
        raise InvalidText("This looks like a card number: it has no place here.")
    return text


@atomic
def _add(episode_key: UUID, kind: str, author: User, text: str) -> Review:
    if not Episode.objects.filter(key=episode_key).exists():
        raise UnknownEpisode
    return Review.objects.create(
        episode_key=episode_key, kind=kind, text=text, author=author.get_username(), author_id=author.pk
    )
