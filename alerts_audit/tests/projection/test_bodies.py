"""Unusual bodies of deliveries."""

from typing import Any

import pytest

from alerts_audit.models import Envelope, Episode, Identity
from alerts_audit.tests.payloads import READABLE, UNREADABLE
from alerts_audit.tests.projection.trail import Trail

REPAIRED = {
    "NUL in a label": "NUL",
    "half a surrogate": "half of a surrogate pair",
    "a label that is a number": "something else where a text was expected",
}


def envelope(trail: Trail, body: bytes | dict[str, Any], **options: Any) -> Envelope:
    """Return the envelope of a delivery with this body, projected, and checked again after a rebuild."""
    key = trail.deliver(body, **options)
    trail.project()
    assert trail.differences() == []
    return Envelope.objects.get(pk=key)


def labels(trail: Trail, **more: Any) -> dict[str, Any]:
    return {"alertname": trail.alertname, "severity": "critical", **more}


# --- Quarantined ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(UNREADABLE))
def test_an_unreadable_body_is_quarantined_with_its_reason(trail, name):
    found = envelope(trail, UNREADABLE[name])

    assert found.error
    assert (found.alerts, found.receiver) == (0, None)
    assert trail.story() == []


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"alerts": None}, 'it has no list of "alerts"'),
        ({"alerts": [1]}, "alert 0 has no labels"),
        ({"alerts": [{"labels": ["a"]}]}, "alert 0 has no labels"),
        ({"alerts": [{"labels": {"alertname": "X"}}, {"status": "firing"}]}, "alert 1 has no labels"),
    ],
)
def test_a_payload_without_alerts_is_quarantined(trail, fields, reason):
    assert envelope(trail, trail.document(**fields)).error == reason


def test_a_truncated_delivery_is_quarantined(trail):
    assert envelope(trail, b'{"alerts": [', size=20_000_000).error == "truncated: only 12 of 20000000 bytes were kept"


def test_an_unreadable_body_delays_nothing(trail):
    trail.deliver(b"{")
    trail.fires(1)
    trail.deliver(b"\x00")
    trail.ends(6)

    assert trail.project() == 4
    assert [state for state, *_ in trail.story()] == ["resolved"]


# --- Read ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(READABLE))
def test_a_readable_body_has_an_envelope(trail, name):
    found = envelope(trail, READABLE[name])

    assert (found.error, found.alerts) == (None, 0 if name == "no alerts" else 1)
    assert found.repaired == REPAIRED.get(name)


def test_the_envelope_keeps_the_groups_fields(trail):
    group_key = '{}/{team="a"}:{x="' + "y" * 100_000 + '"}'
    document = trail.document(
        trail.alert(), receiver="pay\\.team\\|x", groupKey=group_key, notification_reason="new", status="firing"
    )

    found = envelope(trail, document)

    assert found.receiver == "pay.team|x"
    assert found.group_key == group_key
    assert (found.version, found.status, found.notification_reason) == ("4", "firing", "new")
    assert (found.external_url, found.alertnames) == ("http://alertmanager:9093", [trail.alertname])


def test_another_version_with_unknown_keys_is_read(trail):
    alert = trail.alert(routeLabels={"a": 1}, new=[1, {"x": None}])

    found = envelope(trail, trail.document(alert, version="9", commonThings=None))

    assert (found.error, found.version) == (None, "9")
    assert len(trail.story()) == 1


def test_a_resolved_alert_in_a_firing_group_is_resolved(trail):
    envelope(trail, trail.document(trail.alert(), trail.alert("resolved", at=5, labels=labels(trail, instance="two"))))

    assert [state for state, *_ in trail.story()] == ["firing", "resolved"]


def test_an_alert_without_a_status_has_that_of_its_group(trail):
    alert = trail.alert(at=5)
    del alert["status"]

    envelope(trail, trail.document(alert, status="resolved"))

    assert [state for state, *_ in trail.story()] == ["resolved"]


def test_the_same_alert_twice_in_one_delivery_counts_once(trail):
    envelope(trail, trail.document(trail.alert(), trail.alert()))

    assert [episode.deliveries for episode in trail.episodes()] == [1]


def test_one_delivery_may_contain_two_episodes_of_one_alert(trail):
    envelope(trail, trail.document(trail.alert(since=0), trail.alert(since=9), trail.alert(since=20)), minute=30)

    assert [state for state, *_ in trail.story()] == ["superseded", "superseded", "firing"]
    assert len({episode.key for episode in trail.episodes()}) == 3


def test_the_order_of_labels_means_nothing(trail):
    there = {"alertname": trail.alertname, "a": "1", "b": "2"}
    back = {"b": "2", "a": "1", "alertname": trail.alertname}

    envelope(trail, trail.document(trail.alert(labels=there)))
    envelope(trail, trail.document(trail.alert(labels=back)), minute=1)

    assert [episode.deliveries for episode in trail.episodes()] == [2]


def test_the_same_labels_in_another_cluster_are_another_alert(trail):
    other = trail.another()
    trail.fires(0)
    other.deliver(trail.document(trail.alert()))
    trail.project()

    assert len(other.story()) == len(trail.story()) == 1


def test_alerts_with_one_fingerprint_are_distinguished(trail):
    envelope(trail, trail.document(trail.alert(), trail.alert(labels=labels(trail, instance="two"))))

    assert len(trail.story()) == 2


# --- Repaired ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "kept", "repaired"),
    [
        ("a\0b", "a\ufffdb", "NUL"),
        ("a\ud800b", "a\ufffdb", "half of a surrogate pair"),
        ("\ud83d\ude00", "\U0001f600", None),
        (7, "7", "something else where a text was expected"),
        (True, "true", "something else where a text was expected"),
        ({"a": [1]}, '{"a": [1]}', "something else where a text was expected"),
        (None, "", None),
        ("x" * 1_000_000, "x" * 1_000_000, None),
        ("\\u0000 \\ \t\r\n\x08 \x7f", "\\u0000 \\ \t\r\n\x08 \x7f", None),
        ("\\N", "\\N", None),
        ("", "", None),
    ],
)
def test_a_label_is_kept_as_far_as_it_can_be(trail, value, kept, repaired):
    found = envelope(trail, trail.document(trail.alert(labels=labels(trail, odd=value))))

    identity = Identity.objects.get(cluster=trail.cluster)
    assert (identity.labels["odd"], found.repaired) == (kept, repaired)


@pytest.mark.parametrize(
    "odd", [{"annotations": None}, {"annotations": "none"}, {"generatorURL": 5}, {"fingerprint": "\0"}, {"startsAt": 5}]
)
def test_odd_fields_beside_the_labels_cost_no_alert(trail, odd):
    assert envelope(trail, trail.document(trail.alert(**odd))).error is None
    assert [state for state, *_ in trail.story()] == ["firing"]


@pytest.mark.parametrize("alertname", ["x" * 1_000_000, "\U0001f4b3" * 5000, "", "a\tb\\c\n"])
def test_a_name_of_any_length_is_found_by_its_beginning(trail, alertname):
    envelope(trail, trail.document(trail.alert(labels={"alertname": alertname, "severity": alertname})))

    (episode,) = trail.episodes()
    assert (episode.alertname, episode.severity) == (alertname[:200], alertname[:200])
    assert episode.identity.labels["alertname"] == alertname


def test_annotations_of_any_kind_are_kept_with_the_episode(trail):
    annotations = {"summary": '50\\% \t of\nall "payments" 💳', "description": "x" * 100_000}

    envelope(trail, trail.document(trail.alert(annotations=annotations)))

    (episode,) = trail.episodes()
    assert (episode.summary, episode.annotations) == (annotations["summary"], annotations)


@pytest.mark.parametrize("since", ["2026-11-22T10:00:00.123456789Z", "2026-11-22T11:00:00.123456789+01:00"])
def test_times_have_an_offset_and_nanoseconds(trail, since):
    envelope(trail, trail.document(trail.alert(since=since)))

    (episode,) = trail.episodes()
    assert episode.starts_at.isoformat() == "2026-11-22T10:00:00.123457+00:00"


def test_five_thousand_alerts_of_one_delivery_are_as_many_episodes(lone_trail):
    alerts = [lone_trail.alert(labels=labels(lone_trail, instance=str(number))) for number in range(5000)]

    envelope(lone_trail, lone_trail.document(*alerts))

    assert Episode.objects.filter(state="firing").count() == 5000
