"""Record alerts that Alertmanager suppresses (silenced, inhibited) as gaps for as long as it does, with the reason."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from django.db import connection

from alerts_audit import gaps
from alerts_audit.completeness.alertmanager import Alertmanager
from alerts_audit.completeness.observe import Snapshot, Watched
from alerts_audit.models import Gap

HELD_BACK = (Gap.Reason.SILENCED, Gap.Reason.INHIBITED)


def record_suppressed(cluster: str, snapshots: list[tuple[Watched, Snapshot]]) -> None:
    """Open gaps for alerts that any peer suppresses, and close those of alerts that none suppresses any more."""
    held: dict[str, dict[str, gaps.Opening]] = {reason: {} for reason in HELD_BACK}
    there = set()
    for watched, snapshot in snapshots:
        by_fingerprint = {alert["fingerprint"]: alert["labels"] for alert in snapshot.alerts}
        for alert in snapshot.alerts:
            subject = gaps.alert_subject(cluster, alert["labels"])
            there.add(subject)
            if alert["state"] == "suppressed":
                held[Gap.Reason.INHIBITED if alert["inhibited_by"] else Gap.Reason.SILENCED][subject] = gaps.Opening(
                    subject=subject,
                    since=snapshot.at,
                    source=watched.name,
                    labels=alert["labels"],
                    details={"cluster": cluster, **why(alert, by_fingerprint)},
                    observation_id=snapshot.observation_id,
                )
    alertmanager = snapshots[0][0].alertmanager
    assert alertmanager is not None
    for reason, openings in held.items():
        open_held_back(alertmanager, reason, openings)
        close_held_back(cluster, reason, openings.keys(), there)


def why(alert: Mapping[str, Any], by_fingerprint: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """Return the reasons: ids of silences, time intervals, and the inhibiting alerts."""
    found: dict[str, Any] = {"starts_at": alert["starts_at"]}
    if alert["silenced_by"]:
        found["silenced_by"] = [{"id": key} for key in alert["silenced_by"]]
    if alert.get("muted_by"):
        found["muted_by"] = alert["muted_by"]
    if alert["inhibited_by"]:
        found["inhibited_by"] = [by_fingerprint.get(key, {"fingerprint": key}) for key in alert["inhibited_by"]]
    return found


def open_held_back(alertmanager: Alertmanager, reason: str, openings: dict[str, gaps.Opening]) -> None:
    """Open gaps with the author of each silence, which is requested only for new gaps."""
    listed = Gap.objects.open().filter(reason=reason, subject__in=list(openings)).values_list("subject", flat=True)
    new = [openings[subject] for subject in openings.keys() - set(listed)]
    keys = {silence["id"] for opening in new for silence in opening.details.get("silenced_by", [])}
    if keys:
        connection.close()  # not held while Alertmanager is asked
    silences = {key: alertmanager.silence(key) for key in sorted(keys)}
    for opening in new:
        for silence in opening.details.get("silenced_by", []):
            silence.update(silences[silence["id"]])
    gaps.open_gaps(reason, new)


def close_held_back(cluster: str, reason: str, held: Iterable[str], there: set[str]) -> None:
    still = set(held)
    now = datetime.now(UTC)
    listed = Gap.objects.open().filter(reason=reason, subject__startswith=f"{cluster} ")
    closings = [
        gaps.Closing(subject, now, {"how": "no longer suppressed" if subject in there else "the alert ended"})
        for subject in listed.values_list("subject", flat=True)
        if subject not in still
    ]
    gaps.close_gaps(reason, closings)


def close_unwatched(clusters: Iterable[str]) -> None:
    """Close the suppression gaps of clusters that are no longer polled, because their state is unknown."""
    listed = Gap.objects.open().filter(reason__in=HELD_BACK).exclude(details__cluster__in=list(clusters))
    for reason, subject in listed.values_list("reason", "subject"):
        details = {"how": "its source is no longer polled"}
        gaps.close_gap(reason=reason, subject=subject, until=datetime.now(UTC), details=details)
