"""What is to be told of episodes besides their rows: who reviewed them, and whether the log has sealed them.

Read for a whole page at once: three queries, however many episodes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from alerts_audit.models import Archive, Checkpoint, Episode, Leaf, Review

SealState = Literal["sealed", "waiting", "archived"]


@dataclass
class Told:
    """One episode. `seal` is of the newest input that it was made from."""

    episode: Episode
    acknowledged: Review | None = None
    noise: Review | None = None
    seal: SealState = "waiting"


def tell(episodes: Sequence[Episode]) -> list[Told]:
    """In the order of `episodes`."""
    told = {episode.key: Told(episode) for episode in episodes}
    kinds = [Review.Kind.ACKNOWLEDGE, Review.Kind.NOISE]
    for review in Review.objects.filter(episode_key__in=told, kind__in=kinds).order_by("id"):
        of = told[review.episode_key]
        if review.kind == Review.Kind.ACKNOWLEDGE:
            of.acknowledged = review
        elif of.noise is None:
            of.noise = review
    seals = seals_of([episode.last_input for episode in episodes])
    for of in told.values():
        of.seal = seals[of.episode.last_input]
    return [told[episode.key] for episode in episodes]


def seals_of(inputs: Sequence[int]) -> dict[int, SealState]:
    """Whether these inputs are below the newest checkpoint, or were archived with a sealed range."""
    size = Checkpoint.objects.values_list("size", flat=True).first() or 0
    leaves = Leaf.objects.filter(kind=Leaf.Kind.INPUT, ref__in=inputs, number__lt=size)
    sealed = set(leaves.values_list("ref", flat=True))
    archived = Archive.objects.values_list("last_input", flat=True).first() or 0
    return {
        number: "archived" if number <= archived else "sealed" if number in sealed else "waiting" for number in inputs
    }


def duration(episode: Episode) -> timedelta:
    """From the start that was told to the end that was told; of an open one, up to now."""
    end = episode.ends_at or episode.closed_at or datetime.now(UTC)
    return max(end - episode.starts_at, timedelta())
