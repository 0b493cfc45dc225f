"""Reviews of episodes. Admin, bulk action and API call these functions. Each adds a row and changes none.

* ReviewError
  - UnknownEpisode         404  the episode does not exist
  - AlreadyAcknowledged    409  another acknowledgement came first
  - InvalidText            422  the text is empty, too long, or not an address
"""

from collections.abc import Collection
from datetime import UTC
from typing import Any
from uuid import UUID

from django.contrib.auth.models import User
from django.db.transaction import atomic

from alerts_audit.links import web_address
from alerts_audit.models import Episode, Review
from fintech.cards import contains_card_number, strip_timestamps
from fintech.database.sql import fetch_all
from fintech.texts import is_blank

MAX_TEXT = 4000

# Sorted, so that two requests for the same episodes never deadlock.
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
        super().__init__("The episode does not exist.")


class AlreadyAcknowledged(ReviewError):
    status, code = 409, "already_acknowledged"

    def __init__(self, first: Review) -> None:
        self.first = first
        at = f"{first.at.astimezone(UTC):%Y-%m-%d %H:%M:%S}"
        super().__init__(f"{first.author} acknowledged the alert at {at} UTC; the first acknowledgement counts.")


class InvalidText(ReviewError):
    status, code, param = 422, "invalid_text", "text"


def acknowledge(*, episode_key: UUID, author: User, text: str = "") -> Review:
    """Record that a person works on the alert. Raise UnknownEpisode, AlreadyAcknowledged, InvalidText."""
    is_first = bool(acknowledge_many(episode_keys=[episode_key], author=author, text=text))
    first = Review.objects.filter(episode_key=episode_key, kind=Review.Kind.ACKNOWLEDGE).first()
    if first is None:
        raise UnknownEpisode
    if not is_first:
        raise AlreadyAcknowledged(first)
    return first


def acknowledge_many(*, episode_keys: Collection[UUID], author: User, text: str = "") -> set[UUID]:
    """Acknowledge in one statement. Return the keys that had no acknowledgement before."""
    values: dict[str, Any] = {"author": author.get_username(), "author_id": author.pk, "text": readable_text(text)}
    return {key for (key,) in fetch_all(ACKNOWLEDGE, {**values, "keys": list(episode_keys)})}


def comment(*, episode_key: UUID, author: User, text: str) -> Review:
    """Add a comment. Raise UnknownEpisode, InvalidText."""
    return _add(episode_key, Review.Kind.COMMENT, author, required_text(text, "Write a comment."))


def mark_as_noise(*, episode_key: UUID, author: User, reason: str) -> Review:
    """Mark an episode as noise. Raise UnknownEpisode, InvalidText."""
    return _add(episode_key, Review.Kind.NOISE, author, required_text(reason, "Enter the reason for noise."))


def link_incident(*, episode_key: UUID, author: User, address: str) -> Review:
    """Link to an incident by an address with http:// or https://. Raise UnknownEpisode, InvalidText."""
    if web_address(address.strip()) is None:
        raise InvalidText("Use the incident's address, which begins with http:// or https://.")
    return _add(episode_key, Review.Kind.INCIDENT, author, required_text(address, ""))


def review(*, episode_key: UUID, kind: str, author: User, text: str = "") -> Review:
    """Run the action named by `kind`, for a form or a request. Raise ReviewError."""
    match kind:
        case Review.Kind.ACKNOWLEDGE:
            return acknowledge(episode_key=episode_key, author=author, text=text)
        case Review.Kind.COMMENT:
            return comment(episode_key=episode_key, author=author, text=text)
        case Review.Kind.NOISE:
            return mark_as_noise(episode_key=episode_key, author=author, reason=text)
        case Review.Kind.INCIDENT:
            return link_incident(episode_key=episode_key, author=author, address=text)
    raise ReviewError(f"Unknown kind of review. The kinds are {', '.join(Review.Kind.values)}.")


def required_text(text: str, advice: str) -> str:
    text = readable_text(text)
    if not text:
        raise InvalidText(advice)
    return text


def readable_text(text: str) -> str:
    """Return a text that can be stored: without NUL, which PostgreSQL refuses, and without a card number.

    A text in which a reader sees nothing becomes the empty one.
    """
    text = text.strip()
    if len(text) > MAX_TEXT:
        raise InvalidText(f"Use at most {MAX_TEXT} characters.")
    if "\0" in text:
        raise InvalidText("Text cannot contain the character NUL.")
    if contains_card_number(strip_timestamps(text)):  # an address may contain a timestamp
        raise InvalidText("The text looks like a card number, which is not allowed: remove it.")
    return "" if is_blank(text) else text


@atomic
def _add(episode_key: UUID, kind: str, author: User, text: str) -> Review:
    if not Episode.objects.filter(key=episode_key).exists():
        raise UnknownEpisode
    return Review.objects.create(
        episode_key=episode_key, kind=kind, text=text, author=author.get_username(), author_id=author.pk
    )
