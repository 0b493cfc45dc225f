"""Fired alerts compared with arrived alerts, with an Alertmanager that has whatever a test defines."""

import hashlib
import json
import secrets
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from threading import Event
from typing import Any

import pytest
from django.conf import settings
from django.db import connection

from alerts_audit.completeness import arrivals, compare, observe, side_by_side
from alerts_audit.completeness.alertmanager import Alertmanager
from alerts_audit.completeness.compare import Comparison
from alerts_audit.completeness.http import PollError
from alerts_audit.completeness.observe import watched_sources
from alerts_audit.gaps import close_gap
from alerts_audit.models import Gap, Observation, Poll, Source
from alerts_audit.projection import project_pending
from alerts_audit.tests.completeness.clocks import AnHourLater
from alerts_audit.tests.completeness.servers import FakeServer, fake_server
from alerts_audit.tests.payloads import alertmanager_body
from alerts_audit.webhook.services import record_delivery
from fintech.testing.processes import wait_until


class Cluster:
    """One source whose Alertmanager is `server`; `turn` is a turn of the worker that leads."""

    def __init__(self, server: FakeServer) -> None:
        self.name = f"compare-{secrets.token_hex(4)}"
        self.server = server
        self.held: list[dict[str, Any]] = []
        server.answer = self.answer
        self.source = Source.objects.create(name=self.name, cluster=self.name, alertmanager_url=server.url)
        self.worker = Comparison()

    def answer(self, path: str) -> tuple[int, Any]:
        if path.startswith("/api/v2/silence/"):
            return 200, {"createdBy": "ann", "comment": "work", "endsAt": "2026-11-23T00:00:00Z", "more": 1}
        return 200, self.held

    def turn(self) -> None:
        self.worker.turn()

    def hold(self, *names: str, since: timedelta = timedelta(seconds=1), **status: Any) -> None:
        """Alertmanager holds these alerts and no others. They are due, however times are rounded."""
        self.held = [
            {
                "labels": {"alertname": name, "severity": "critical"},
                "startsAt": (datetime.now(UTC) - since).isoformat(),
                "fingerprint": name,
                "status": {"state": "active", "silencedBy": [], "inhibitedBy": [], **status},
            }
            for name in names
        ]

    def observed(self, ago: timedelta) -> None:
        """The worker before stored, so long ago, what Alertmanager holds."""
        body = observe.canonical({"cluster": self.name, "alerts": Alertmanager(self.server.url).alerts()})
        digest, at = hashlib.sha256(body).digest(), datetime.now(UTC) - ago
        Observation.objects.create(source=self.name, kind="alertmanager", body=body, sha256=digest, observed_at=at)

    def judged(self) -> None:
        """The worker before has judged everything up to now."""
        now = datetime.now(UTC)
        state = {"unjudged_from": now.isoformat()}
        Poll.objects.filter(source=self.name).update(until=now, state=state)

    def deliver(self, *names: str, status: str = "firing", **fields: Any) -> None:
        document = json.loads(alertmanager_body(*names, status=status, **fields))
        for alert in document["alerts"]:
            alert["startsAt"] = datetime.now(UTC).isoformat()
            alert["endsAt"] = datetime.now(UTC).isoformat() if status == "resolved" else alert["endsAt"]
        record_delivery(source=self.name, body=json.dumps(document).encode())
        project_pending()

    def gaps(self, reason: str = "outage") -> list[Gap]:
        return list(Gap.objects.open().filter(reason=reason, source=self.name).order_by("pk"))

    def names(self, reason: str = "outage") -> list[str]:
        return sorted(gap.labels["alertname"] for gap in self.gaps(reason) if gap.labels)


@pytest.fixture
def cluster(monkeypatch) -> Iterator[Cluster]:
    """A cluster whose alerts have no time to arrive."""
    monkeypatch.setattr(settings, "ALERT_GRACE_SECONDS", 0)
    with fake_server(lambda path: (200, [])) as server:
        yield (found := Cluster(server))
    Source.objects.filter(cluster=found.name).update(is_active=False)


def test_each_alert_that_fired_and_did_not_arrive_is_a_gap(cluster):
    cluster.deliver("A")
    cluster.hold("A", "B", "C")
    cluster.turn()
    cluster.turn()

    assert cluster.names() == ["B", "C"]
    gap = cluster.gaps()[0]
    assert gap.subject.startswith(f"{cluster.name} " + '{"alertname":"B"')
    assert gap.details["seen_by"] == "alertmanager"
    assert b'"alertname":"B"' in bytes(Observation.objects.get(pk=gap.observation_id).body)


def test_a_cluster_that_hangs_delays_no_comparison_of_the_others(cluster, monkeypatch):
    """Its requests may take 20 seconds, and the next turn of all clusters waited for them."""
    monkeypatch.setattr(side_by_side, "PATIENCE_SECONDS", 0.5)
    go = Event()

    def hang(path: str) -> tuple[int, Any]:
        assert go.wait(30)
        return 200, []

    def missing(*names: str) -> bool:
        cluster.turn()
        return cluster.names() == [*names]

    with fake_server(hang) as hanging:
        name = f"a-{cluster.name}"  # it is polled first
        source = Source.objects.create(name=name, cluster=name, alertmanager_url=hanging.url)
        try:
            cluster.hold("A")
            wait_until(lambda: missing("A"), 8, "the gap of the other cluster")
            cluster.hold("A", "B")
            wait_until(lambda: missing("A", "B"), 8, "the gap of its next comparison")
            assert len(hanging.asked) == 1  # no second comparison beside the first
        finally:
            go.set()
            Source.objects.filter(pk=source.pk).update(is_active=False)


def test_nothing_is_judged_within_the_grace(cluster, monkeypatch):
    monkeypatch.setattr(settings, "ALERT_GRACE_SECONDS", 60)
    cluster.hold("A")
    cluster.turn()

    assert cluster.names() == []


def test_a_late_arrival_closes_its_gap(cluster):
    cluster.hold("A", "B")
    cluster.turn()
    gap = cluster.gaps()[0]
    cluster.deliver("A")
    cluster.turn()

    assert cluster.names() == ["B"]
    assert Gap.objects.get(closes=gap).details == {"how": "arrived late"}


def test_one_that_is_over_and_never_arrived_stays_a_gap(cluster):
    cluster.hold("A")
    cluster.turn()
    cluster.hold()
    cluster.turn()
    cluster.turn()

    assert cluster.names() == ["A"]


def test_an_earlier_episode_is_not_this_one(cluster, monkeypatch):
    monkeypatch.setattr(arrivals, "CLOCK_SKEW", timedelta(0))
    cluster.deliver("A")
    cluster.deliver("A", status="resolved")
    cluster.hold("A")
    cluster.turn()

    assert cluster.names() == ["A"]


def test_the_same_labels_in_another_cluster_are_another_alert(cluster):
    record_delivery(source="alertmanager", body=alertmanager_body("Elsewhere"))
    project_pending()
    cluster.hold("Elsewhere")
    cluster.turn()

    assert cluster.names() == ["Elsewhere"]


def test_a_restarted_worker_opens_no_second_gap_after_a_person_closed_the_first(cluster):
    cluster.hold("A")
    cluster.turn()
    [gap] = cluster.gaps()
    close_gap(reason="outage", subject=gap.subject, until=datetime.now(UTC), details={"by": "ann"})

    cluster.worker = Comparison()
    cluster.turn()
    cluster.turn()

    assert cluster.gaps() == []


@pytest.mark.parametrize("how", ["it restarts", "it leads again"])
def test_a_worker_opens_no_second_gap_after_an_observation_that_is_newer_than_the_first(cluster, how):
    """It recalls the alert from the newer observation, as if it had begun then."""
    cluster.hold("A", since=timedelta(hours=3))
    cluster.observed(timedelta(hours=3))
    Poll.objects.create(source=cluster.name, kind="alertmanager", until=datetime.now(UTC) - timedelta(hours=2))
    cluster.server.answer = lambda path: (503, b"")
    with pytest.raises(PollError):
        cluster.turn()
    cluster.server.answer = cluster.answer
    [gap] = cluster.gaps()
    close_gap(reason="outage", subject=gap.subject, until=datetime.now(UTC), details={"by": "ann"})
    cluster.deliver("B")
    cluster.hold("A", "B", since=timedelta(hours=3))
    cluster.observed(timedelta(hours=1))
    cluster.judged()

    if how == "it restarts":
        cluster.worker = Comparison()
    else:
        cluster.worker.forget()
    cluster.turn()

    assert cluster.gaps() == []


def test_a_restarted_worker_judges_what_the_one_before_had_seen(cluster, monkeypatch):
    monkeypatch.setattr(settings, "ALERT_GRACE_SECONDS", 60)
    cluster.hold("A")
    cluster.turn()
    cluster.hold()

    monkeypatch.setattr(settings, "ALERT_GRACE_SECONDS", 0)
    cluster.worker = Comparison()
    cluster.turn()

    assert cluster.names() == ["A"]
    assert cluster.gaps()[0].details["ended"]


def test_a_worker_that_leads_again_judges_what_the_other_saw(cluster, monkeypatch):
    monkeypatch.setattr(settings, "ALERT_GRACE_SECONDS", 60)
    cluster.turn()
    cluster.hold("A")
    Comparison().turn()
    cluster.hold()

    monkeypatch.setattr(settings, "ALERT_GRACE_SECONDS", 0)
    cluster.worker.forget()
    cluster.turn()

    assert cluster.names() == ["A"]


def test_a_restarted_worker_recalls_alerts_that_were_seen_long_ago_and_not_judged(cluster, monkeypatch):
    """No alert is judged while deliveries wait for the projection."""
    monkeypatch.setattr("alerts_audit.models.inputs.PROJECTED_WITHIN", timedelta(seconds=-60))
    record_delivery(source=cluster.name, body=alertmanager_body("B"))
    cluster.hold("A")
    cluster.turn()
    for names in ("", "C", ""):
        cluster.hold(*names)
        cluster.turn()
    Poll.objects.filter(source=cluster.name).update(until=datetime.now(UTC) + timedelta(hours=1))

    project_pending()
    monkeypatch.setattr(compare, "datetime", AnHourLater)
    cluster.worker = Comparison()
    cluster.turn()

    assert cluster.names() == ["A", "C"]


def test_no_alert_is_judged_while_the_projection_lags(cluster, monkeypatch):
    monkeypatch.setattr("alerts_audit.models.inputs.PROJECTED_WITHIN", timedelta(seconds=-60))
    record_delivery(source=cluster.name, body=alertmanager_body("A"))
    cluster.hold("A", "B")
    cluster.turn()
    assert cluster.names() == []

    project_pending()
    cluster.turn()

    assert cluster.names() == ["B"]


def test_a_label_with_nul_is_the_same_on_both_sides(cluster):
    cluster.deliver("a\0b", "c\0d")
    cluster.hold("a\0b", "e\0f")
    cluster.turn()

    assert cluster.names() == ["e\N{REPLACEMENT CHARACTER}f"]


def test_alerts_that_alertmanager_leaves_out_are_truncated_and_no_outage(cluster):
    cluster.deliver("A", truncatedAlerts=1)
    cluster.hold("A", "B")
    cluster.turn()

    assert cluster.names("outage") == []
    assert cluster.names("truncated") == ["B"]


def test_a_source_that_does_not_answer_is_reported_and_hides_no_other(cluster):
    Source.objects.create(name=f"{cluster.name}-z", cluster=cluster.name, alertmanager_url="http://127.0.0.1:1")
    cluster.hold("A")

    with pytest.raises(PollError, match=f"{cluster.name}-z: .*does not answer"):
        cluster.turn()

    assert cluster.names() == ["A"]


def test_an_unavailable_alertmanager_opens_no_gap_and_ends_no_alert(cluster):
    cluster.hold("A", state="suppressed", silencedBy=["s-1"])
    cluster.turn()
    cluster.server.answer = lambda path: (503, b"")
    with pytest.raises(PollError):
        cluster.turn()

    assert cluster.names("silenced") == ["A"]
    assert cluster.names("outage") == []


def test_an_inactive_source_is_not_asked(cluster):
    Source.objects.filter(name=cluster.name).update(is_active=False)

    assert cluster.name not in [watched.name for watched in watched_sources()]


def test_settings_say_where_the_default_source_is(monkeypatch):
    monkeypatch.setattr(settings, "ALERTMANAGER_URL", "http://127.0.0.1:9")
    monkeypatch.setattr(settings, "PROMETHEUS_URL", "http://127.0.0.1:8")

    [default] = [watched for watched in watched_sources() if watched.name == "alertmanager"]
    assert default.alertmanager
    assert (default.alertmanager.url, default.prometheus_url) == ("http://127.0.0.1:9", "http://127.0.0.1:8")


# --- Held back -----------------------------------------------------------------------------------------------


def test_a_silence_is_recorded_with_its_author_and_read_once(cluster):
    cluster.hold("A", "B", state="suppressed", silencedBy=["s-1"])
    cluster.turn()
    cluster.turn()

    assert cluster.names("silenced") == ["A", "B"]
    expected = {"id": "s-1", "createdBy": "ann", "comment": "work", "endsAt": "2026-11-23T00:00:00Z"}
    assert cluster.gaps("silenced")[0].details["silenced_by"] == [expected]
    assert sum("/silence/" in asked.path for asked in cluster.server.asked) == 1


def test_an_inhibition_is_recorded_with_the_labels_of_its_source(cluster):
    cluster.hold("Cause")
    cause = cluster.held
    cluster.hold("Effect", state="suppressed", inhibitedBy=["Cause", "gone"])
    cluster.held += cause
    cluster.turn()

    [gap] = cluster.gaps("inhibited")
    assert gap.details["inhibited_by"] == [{"alertname": "Cause", "severity": "critical"}, {"fingerprint": "gone"}]


def test_a_muted_alert_is_silenced_by_its_time_interval(cluster):
    cluster.hold("A", state="suppressed", mutedBy=["nights"])
    cluster.turn()

    assert cluster.gaps("silenced")[0].details["muted_by"] == ["nights"]


def test_an_alert_suppressed_by_one_peer_is_suppressed_before_the_other_knows(cluster):
    cluster.hold("A", state="suppressed", silencedBy=["s-1"])
    with fake_server(lambda path: (200, [])) as peer:
        Source.objects.create(name=f"{cluster.name}-z", cluster=cluster.name, alertmanager_url=peer.url)
        cluster.turn()
        cluster.turn()

    assert cluster.names("silenced") == ["A"]
    assert Gap.objects.filter(source=cluster.name).count() == 1


def test_from_inhibited_to_silenced_is_one_gap_after_the_other(cluster):
    cluster.hold("A", state="suppressed", inhibitedBy=["x"])
    cluster.turn()
    cluster.hold("A", state="suppressed", silencedBy=["s-1"])
    cluster.turn()

    assert cluster.names("inhibited") == []
    assert cluster.names("silenced") == ["A"]


def test_a_source_that_is_not_polled_any_more_suppresses_nothing(cluster):
    cluster.hold("A", state="suppressed", silencedBy=["s-1"])
    cluster.turn()
    [gap] = cluster.gaps("silenced")
    Source.objects.filter(name=cluster.name).update(is_active=False)
    cluster.turn()

    assert Gap.objects.get(closes=gap).details == {"how": "its source is no longer polled"}


# --- Evidence, and its growth --------------------------------------------------------------------------------


def test_an_observation_is_kept_only_when_it_differs(cluster):
    cluster.hold("A")
    for _ in range(5):
        cluster.turn()
    assert Observation.objects.filter(source=cluster.name).count() == 1

    cluster.hold("A", "B")
    cluster.turn()

    assert Observation.objects.filter(source=cluster.name).count() == 2
    assert Poll.objects.get(source=cluster.name, kind="alertmanager").until > datetime.now(UTC) - timedelta(minutes=1)


def test_an_observation_of_many_alerts_is_small_on_disk(cluster):
    cluster.hold(*(f"Alert number {number} of a large group" for number in range(2000)))
    cluster.turn()

    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT octet_length(body), pg_column_size(body) FROM alerts_audit_observation WHERE source = %s",
            [cluster.name],
        )
        plain, stored = cursor.fetchone()
    assert plain / 2000 < 300  # bytes an alert
    assert stored < plain / 5


def test_thousands_that_never_arrived_are_judged_in_a_few_statements(cluster, django_assert_max_num_queries, caplog):
    caplog.set_level("CRITICAL")  # each is a line of the log
    cluster.hold(*(f"A{number}" for number in range(2000)))
    with django_assert_max_num_queries(40):
        cluster.turn()

    assert len(cluster.gaps()) == 2000
    with django_assert_max_num_queries(40):
        cluster.turn()
