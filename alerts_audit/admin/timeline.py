"""The history of one episode in order."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.urls import reverse

from alerts_audit.admin.display import REVIEW_COLOURS, REVIEW_TITLES, STATE_COLOURS
from alerts_audit.admin.episode_links import get_links
from alerts_audit.links import web_address
from alerts_audit.models import Delivery, Episode, Leaf, Review, Transition
from alerts_audit.selectors.episode_detail import MAX_SHOWN, Detail, Sealed, get_detail
from alerts_audit.selectors.plain_notes import in_plain_words
from fintech.adminsite.display import page_of, pretty, show_time


@dataclass
class Entry:
    """An entry of the timeline, `by` a person or a source. `seal` is the leaf of the `delivery` or of the review.

    `gone`: where an archived delivery is; then only its number is known here.
    """

    at: datetime
    title: str
    colour: str
    by: str | None = None
    text: str | None = None
    link: str | None = None
    delivery: Delivery | None = None
    delivery_id: int | None = None
    gone: str | None = None
    delivery_link: str | None = None
    proof_link: str | None = None
    seal: Sealed = field(default_factory=Sealed)

    @property
    def shown_at(self) -> str:
        return show_time(self.at)

    @property
    def hash(self) -> str:
        return bytes(self.delivery.sha256).hex() if self.delivery else ""


def get_story(episode: Episode, *, with_reviews: bool) -> dict[str, Any]:
    """Return the context of the page's sections."""
    detail = get_detail(episode, with_reviews=with_reviews)
    entries = sorted([*_transitions(detail), *_reviews(detail)], key=lambda entry: entry.at)
    return {
        "entries": entries,
        "is_cut": max(len(detail.transitions), len(detail.reviews)) == MAX_SHOWN,
        "most_shown": MAX_SHOWN,
        "summary": detail.summary,
        "links": list(get_links(episode)),
        "annotations": pretty(episode.annotations) if episode.annotations else None,
        "input_seal": detail.seals[Leaf.Kind.INPUT, episode.last_input],
    }


def _transitions(detail: Detail) -> Iterator[Entry]:
    deliveries = {delivery.pk: delivery for delivery in detail.deliveries}
    for transition in detail.transitions:
        number = transition.delivery_id
        delivery = deliveries.get(number or 0)
        yield Entry(
            at=transition.at,
            title=_title(transition),
            colour=STATE_COLOURS.get(transition.to_state, "default"),
            by=transition.source,
            text=in_plain_words(transition.note),
            delivery=delivery,
            delivery_id=number,
            gone=_gone(detail, number),
            delivery_link=page_of(Delivery, number) if number is not None and number not in detail.missing else None,
            proof_link=get_proof(Leaf.Kind.DELIVERY, delivery.pk) if delivery else None,
            seal=detail.seals[Leaf.Kind.DELIVERY, delivery.pk] if delivery else Sealed(),
        )


def _gone(detail: Detail, delivery: int | None) -> str | None:
    if delivery in detail.archived:
        return f"archived: {detail.archived[delivery].file_name}"
    return "is neither here nor in an archive: run verify_audit" if delivery in detail.missing else None


def _title(transition: Transition) -> str:
    return f"{transition.from_state} → {transition.to_state}" if transition.from_state else transition.to_state


def _reviews(detail: Detail) -> Iterator[Entry]:
    for review in detail.reviews:
        yield Entry(
            at=review.at,
            title=REVIEW_TITLES[review.kind],
            colour=REVIEW_COLOURS[review.kind],
            by=review.author,
            text=review.text or None,
            link=web_address(review.text) if review.kind == Review.Kind.INCIDENT else None,
            proof_link=get_proof(Leaf.Kind.REVIEW, review.pk),
            seal=detail.seals[Leaf.Kind.REVIEW, review.pk],
        )


def get_proof(kind: str, ref: int) -> str:
    return reverse(f"admin:alerts_audit_{kind}_proof", args=[ref])
