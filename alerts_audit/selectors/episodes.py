"""Read the review and seal status of episodes, beside their rows.

All episodes of a page are read together: a few queries for any number.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from django.db.models import Q, Subquery

from alerts_audit.models import Archive, Checkpoint, Episode, Leaf, Review, Transition

SealState = Literal["sealed", "waiting", "archived"]


@dataclass
class EpisodeSummary:
    """The summary of one episode. `seal` is that of its newest state change."""

    episode: Episode
    acknowledged: Review | None = None
    noise: Review | None = None
    seal: SealState = "waiting"


def summarize_episodes(
    episodes: Sequence[Episode], changes: Iterable[Transition] | None = None
) -> list[EpisodeSummary]:
    """Return the summaries in the order of `episodes`. `changes` are their transitions, if they are known already."""
    summaries = {episode.key: EpisodeSummary(episode) for episode in episodes}
    kinds = [Review.Kind.ACKNOWLEDGE, Review.Kind.NOISE]
    for review in Review.objects.filter(episode_key__in=summaries, kind__in=kinds).order_by("id"):
        summary = summaries[review.episode_key]
        if review.kind == Review.Kind.ACKNOWLEDGE:
            summary.acknowledged = review
        elif summary.noise is None:
            summary.noise = review
    if changes is None:
        columns = ("episode_id", "input_number", "delivery_id")
        changes = Transition.objects.filter(episode__in=episodes).order_by("id").only(*columns)  # an episode has few
    seals = get_seals(episodes, changes)
    for summary in summaries.values():
        summary.seal = seals[summary.episode.pk]
    return [summaries[episode.key] for episode in episodes]


def get_seals(episodes: Sequence[Episode], changes: Iterable[Transition]) -> dict[int, SealState]:
    """Return the seal status of each episode: sealed if its latest transition and that transition's delivery are
    covered by a checkpoint, or were archived.

    Repeated notifications do not change it.
    """
    rests_on: dict[int, tuple[int, int | None]] = {episode.pk: (episode.opened_input, None) for episode in episodes}
    for change in changes:
        rests_on[change.episode_id] = change.input_number, change.delivery_id
    sealed = sealed_rows(rests_on.values())
    archived = Archive.objects.values_list("last_input", flat=True).first() or 0
    return {
        episode: "archived" if rests[0] <= archived else "sealed" if rests in sealed else "waiting"
        for episode, rests in rests_on.items()
    }


def sealed_rows(pairs: Collection[tuple[int, int | None]]) -> set[tuple[int, int | None]]:
    """Return the inputs that have, together with their delivery, a leaf below the newest checkpoint."""
    size = Subquery(Checkpoint.objects.values("size")[:1])
    inputs = Q(kind=Leaf.Kind.INPUT, ref__in={number for number, _ in pairs})
    deliveries = Q(kind=Leaf.Kind.DELIVERY, ref__in={delivery for _, delivery in pairs if delivery is not None})
    found = set(Leaf.objects.filter(inputs | deliveries, number__lt=size).values_list("kind", "ref"))
    return {
        (number, delivery)
        for number, delivery in pairs
        if ("input", number) in found and (delivery is None or ("delivery", delivery) in found)
    }


def duration(episode: Episode) -> timedelta:
    """Return the time from the reported start to the reported end; of an open episode, up to now."""
    end = episode.ends_at or episode.closed_at or datetime.now(UTC)
    return max(end - episode.starts_at, timedelta())
