"""The form of the trail's data in the API and in exports. Times are UTC, keys are episode keys."""

from alerts_audit.models import Archive, Checkpoint, Gap, Review, Transition
from alerts_audit.selectors import types
from alerts_audit.selectors.episodes import EpisodeSummary, duration
from alerts_audit.selectors.plain_notes import in_plain_words


def serialize_episode(summary: EpisodeSummary, *, with_reviews: bool) -> types.Episode:
    """Return an episode, with the text of a review only if `with_reviews`.

    `severity`, `alertname` and `cluster` repeat labels for convenience.
    """
    episode = summary.episode
    return {
        "key": episode.key,
        "state": episode.state,
        "alertname": episode.alertname,
        "severity": episode.severity,
        "cluster": episode.identity.cluster,
        "labels": episode.identity.labels,
        "summary": episode.summary,
        "annotations": episode.annotations,
        "generator_url": episode.generator_url,
        "starts_at": episode.starts_at,
        "ends_at": episode.ends_at,
        "opened_at": episode.opened_at,
        "closed_at": episode.closed_at,
        "last_seen_at": episode.last_seen_at,
        "duration_seconds": round(duration(episode).total_seconds(), 3),
        "delivery_count": episode.deliveries,
        "acknowledged": {"by": summary.acknowledged.author, "at": summary.acknowledged.at}
        if summary.acknowledged
        else None,
        "noise": {
            "by": summary.noise.author,
            "at": summary.noise.at,
            "reason": summary.noise.text if with_reviews else "",
        }
        if summary.noise
        else None,
        "seal": summary.seal,
    }


def serialize_review(review: Review) -> types.Review:
    return {"id": review.pk, "kind": review.kind, "text": review.text, "author": review.author, "at": review.at}


def serialize_transition(transition: Transition) -> types.Transition:
    return {
        "from": transition.from_state,
        "to": transition.to_state,
        "at": transition.at,
        "source": transition.source,
        "delivery": transition.delivery_id,
        "input": transition.input_number,
        "note": in_plain_words(transition.note),
    }


def serialize_gap(gap: Gap, closing: Gap | None) -> types.Gap:
    return {
        "id": gap.pk,
        "reason": gap.reason,
        "state": "open" if closing is None else "closed",
        "subject": gap.subject,
        "source": gap.source,
        "labels": gap.labels,
        "since": gap.since,
        "until": closing.until if closing else None,
        "details": gap.details,
        "opened_at": gap.at,
        "closed_at": closing.at if closing else None,
    }


def serialize_checkpoint(checkpoint: Checkpoint, signer: str | None) -> types.Checkpoint:
    return {
        "size": checkpoint.size,
        "root": bytes(checkpoint.root).hex(),
        "at": checkpoint.at,
        "key_id": checkpoint.key_id,
        "public_key": signer,
        "note": checkpoint.note,
    }


def serialize_archive(archive: Archive) -> types.Archive:
    return {
        "id": archive.pk,
        "file_name": archive.file_name,
        "sha256": bytes(archive.file_sha256).hex(),
        "first_leaf": archive.first_leaf,
        "last_leaf": archive.end_leaf - 1,
        "at": archive.at,
    }
