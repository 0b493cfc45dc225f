"""Response types of the trail's API, for type checking and for /v1/schema (alerts_audit/api/openapi.py)."""

from datetime import date, datetime
from typing import Annotated, Any, TypedDict
from uuid import UUID

from msgspec import Meta

from alerts_audit import models


def _one_of(words: Any) -> Any:
    return Meta(extra_json_schema={"enum": list(words)})


Moment = Annotated[datetime, Meta(tz=True)]
Next = Annotated[str | None, Meta(description="The address of the next page; null: this is the last.")]
Sha256 = Annotated[str, Meta(extra_json_schema={"pattern": "^[0-9a-f]{64}$"})]
Seconds = Annotated[float, Meta(description="Seconds.")]
MeanSeconds = Annotated[float | None, Meta(description="Seconds; null without data.")]
State = Annotated[str, _one_of(models.Episode.State.values)]


# `from` is a keyword in Python.
_From = TypedDict("_From", {"from": Moment})
_FromState = TypedDict("_FromState", {"from": State | None})


class By(TypedDict):
    by: str
    at: Moment


class Noise(By):
    reason: Annotated[str, Meta(description="Empty without the permission view_review.")]


class Episode(TypedDict):
    key: UUID
    state: State
    alertname: str
    severity: str
    cluster: str
    labels: dict[str, Any]
    summary: str
    annotations: dict[str, Any]
    generator_url: str
    starts_at: Moment
    ends_at: Moment | None
    opened_at: Moment
    closed_at: Moment | None
    last_seen_at: Moment
    duration_seconds: Seconds
    delivery_count: int
    acknowledged: By | None
    noise: Noise | None
    seal: Annotated[str, _one_of(["sealed", "waiting", "archived"])]


class EpisodePage(TypedDict):
    data: list[Episode]
    next: Next


class Seal(TypedDict):
    leaf: Annotated[int | None, Meta(description="Its number in the log; null: not sealed yet.")]
    checkpoint_size: Annotated[int | None, Meta(description="Size of the first checkpoint that covers it.")]


class Transition(_FromState):
    to: State
    at: Moment
    source: str | None
    delivery: int | None
    input: int
    note: str | None


class Delivery(Seal):
    id: int
    received_at: Moment
    source: str
    size: int
    sha256: Sha256


class Archive(TypedDict):
    id: int
    file_name: str
    sha256: Sha256
    first_leaf: int
    last_leaf: int
    at: Moment


class ArchivedDelivery(TypedDict):
    id: int
    archive: Archive


class Review(TypedDict):
    id: int
    kind: Annotated[str, _one_of(models.Review.Kind.values)]
    text: str
    author: str
    at: Moment


class SealedReview(Review, Seal):
    pass


class EpisodeDetail(Episode):
    transitions: list[Transition]
    deliveries: Annotated[list[Delivery], Meta(description="Deliveries that changed its state and are not archived.")]
    archived_deliveries: Annotated[list[ArchivedDelivery], Meta(description="Archived deliveries.")]
    missing_deliveries: Annotated[
        list[int], Meta(description="Deliveries that are in no archive either: run verify_audit.")
    ]
    reviews: Annotated[list[SealedReview], Meta(description="Empty without the permission view_review.")]


class ReviewList(TypedDict):
    data: list[Review]
    next: None


class Gap(TypedDict):
    id: int
    reason: Annotated[str, _one_of(models.Gap.Reason.values)]
    state: Annotated[str, _one_of(["open", "closed"])]
    subject: str
    source: str | None
    labels: dict[str, Any] | None
    since: Moment
    until: Moment | None
    details: dict[str, Any]
    opened_at: Moment
    closed_at: Moment | None


class GapPage(TypedDict):
    data: list[Gap]
    next: Next


class Day(TypedDict):
    day: date
    alerts: int


class OfSeverity(TypedDict):
    severity: str
    alerts: int
    mttr_seconds: MeanSeconds


class OfAlert(TypedDict):
    alertname: str
    alerts: int
    firing_seconds: Seconds
    mttr_seconds: MeanSeconds
    acknowledged: int
    noise_share: float


class Statistics(_From):
    until: Moment
    days: int
    not_counted: Annotated[list[str], Meta(description="Heartbeat alerts, which are excluded from all figures.")]
    alerts: int
    alerts_per_day: float
    firing: int
    acknowledged: int
    mtta_seconds: MeanSeconds
    mttr_seconds: MeanSeconds
    noise: int
    noise_share: float | None
    by_day: list[Day]
    by_severity: list[OfSeverity]
    top: list[OfAlert]


class Checkpoint(TypedDict):
    size: int
    root: Sha256
    at: Moment
    key_id: Annotated[str, Meta(description="The first four bytes of the key's hash, in hexadecimal.")]
    public_key: Annotated[str | None, Meta(description="The key that signed it; null if it is unknown here.")]
    note: str


class CheckpointPage(TypedDict):
    note: Annotated[str | None, Meta(description="The newest checkpoint, as it is published.")]
    public_key: Annotated[str | None, Meta(description="The key that signed `note`.")]
    public_keys: Annotated[list[str], Meta(description="The trust root, where the web process can read it.")]
    data: list[Checkpoint]
    next: Next
