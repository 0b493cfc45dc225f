"""Read everything about one episode: transitions, deliveries, reviews, and their seals."""

from collections.abc import Collection
from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import Any

from django.db.models import OuterRef, Q, Subquery

from alerts_audit.models import Archive, Checkpoint, Delivery, Envelope, Episode, Leaf, Review, Transition
from alerts_audit.selectors import types
from alerts_audit.selectors.episodes import EpisodeSummary, summarize_episodes
from alerts_audit.selectors.serializers import (
    serialize_archive,
    serialize_episode,
    serialize_review,
    serialize_transition,
)

# The newest of each kind, because an alert that flaps for weeks has more.
MAX_SHOWN = 200


@dataclass
class Sealed:
    """A row's leaf in the log, and the first checkpoint that covers it. None: not sealed yet, or archived."""

    leaf: int | None = None
    checkpoint: Checkpoint | None = None


@dataclass
class Detail:
    """An episode with the deliveries that changed its state, the archives of archived ones, and the missing ones.

    `seals` contains the leaves by kind and key of a row: ("delivery", 7).
    """

    summary: EpisodeSummary
    transitions: list[Transition]
    deliveries: list[Delivery]
    archived: dict[int, Archive]
    missing: list[int]
    reviews: list[Review]
    seals: dict[tuple[str, int], Sealed]


def get_detail(episode: Episode, *, with_reviews: bool) -> Detail:
    """Return the detail, oldest first, with deliveries without their bodies."""
    transitions = newest(Transition.objects.filter(episode=episode))
    told_by = {transition.delivery_id for transition in transitions if transition.delivery_id is not None}
    deliveries = list(Delivery.objects.filter(pk__in=told_by).defer("body").order_by("id"))
    gone = told_by - {delivery.pk for delivery in deliveries}
    archived = get_archives(gone)
    reviews = newest(Review.objects.filter(episode_key=episode.key)) if with_reviews else []
    seals = get_row_seals(
        {
            Leaf.Kind.DELIVERY: told_by,
            Leaf.Kind.INPUT: {episode.last_input, *(transition.input_number for transition in transitions)},
            Leaf.Kind.REVIEW: {review.pk for review in reviews},
        }
    )
    missing = sorted(gone - archived.keys())
    (summary,) = summarize_episodes([episode], transitions)
    return Detail(summary, transitions, deliveries, archived, missing, reviews, seals)


def get_archives(deliveries: Collection[int]) -> dict[int, Archive]:
    """Return the archives of archived deliveries, found by the input number that the envelope names."""
    inputs = Envelope.objects.filter(pk__in=deliveries).values_list("pk", "input_number")
    archives = list(Archive.objects.defer("carried", "kept").order_by("id")) if inputs else []
    found: dict[int, Archive] = {}
    for delivery, number in sorted(inputs):
        archive = next((archive for archive in archives if number <= archive.last_input), None)
        if archive is not None:
            found[delivery] = archive
    return found


def newest(rows: Any) -> list[Any]:
    """Return the newest rows, oldest first."""
    return list(rows.order_by("-id")[:MAX_SHOWN])[::-1]


def get_row_seals(rows: dict[Leaf.Kind, Collection[int]]) -> dict[tuple[str, int], Sealed]:
    """Return the seal of each row, by kind and key."""
    found: dict[tuple[str, int], Sealed] = {(kind, ref): Sealed() for kind, refs in rows.items() for ref in refs}
    covering = Checkpoint.objects.filter(size__gt=OuterRef("number")).order_by("size", "id").values("pk")[:1]
    log = Leaf.objects.annotate(checkpoint=Subquery(covering))
    leaves = list(log.filter(reduce(or_, (Q(kind=kind, ref__in=refs) for kind, refs in rows.items()))))
    checkpoints = Checkpoint.objects.in_bulk({leaf.checkpoint for leaf in leaves})
    for leaf in leaves:
        found[leaf.kind, leaf.ref] = Sealed(leaf.number, checkpoints.get(leaf.checkpoint))
    return found


def show_detail(episode: Episode, *, with_reviews: bool) -> types.EpisodeDetail:
    """Return the detail in the form of the API."""
    detail = get_detail(episode, with_reviews=with_reviews)
    return {
        **serialize_episode(detail.summary, with_reviews=with_reviews),
        "transitions": [serialize_transition(transition) for transition in detail.transitions],
        "deliveries": [
            {
                "id": delivery.pk,
                "received_at": delivery.received_at,
                "source": delivery.source,
                "size": delivery.size,
                "sha256": bytes(delivery.sha256).hex(),
                **show_seal(detail.seals[Leaf.Kind.DELIVERY, delivery.pk]),
            }
            for delivery in detail.deliveries
        ],
        "archived_deliveries": [
            {"id": delivery, "archive": serialize_archive(archive)} for delivery, archive in detail.archived.items()
        ],
        "missing_deliveries": detail.missing,
        "reviews": [
            {**serialize_review(review), **show_seal(detail.seals[Leaf.Kind.REVIEW, review.pk])}
            for review in detail.reviews
        ],
    }


def show_seal(sealed: Sealed) -> types.Seal:
    return {"leaf": sealed.leaf, "checkpoint_size": sealed.checkpoint.size if sealed.checkpoint else None}
