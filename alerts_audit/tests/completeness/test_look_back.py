"""Prometheus's history: polled in steps from the end of the last answer, and compared by the known labels."""

import hashlib
import secrets
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.conf import settings

from alerts_audit.completeness import compare, observe
from alerts_audit.completeness.compare import Comparison
from alerts_audit.completeness.http import PollError
from alerts_audit.completeness.observe import Watched, ask_prometheus, canonical
from alerts_audit.models import Gap, Observation, Poll, Source
from alerts_audit.projection import project_pending
from alerts_audit.tests.completeness.clocks import AnHourLater
from alerts_audit.tests.completeness.servers import FakeServer, fake_server
from alerts_audit.tests.payloads import alertmanager_body
from alerts_audit.webhook.services import record_delivery

RELABELLED = "alerting: {alert_relabel_configs: [{action: of-a-later-version, target_label: region}]}"
KIND = Observation.Kind.PROMETHEUS


class Memory:
    """A source whose Prometheus saw these alerts fire just now."""

    def __init__(self, server: FakeServer) -> None:
        self.name = f"memory-{secrets.token_hex(4)}"
        self.server, self.configuration, self.firing = server, "", list[dict[str, str]]()
        server.answer = self.answer
        self.watched = Watched(self.name, self.name, None, server.url)
        Source.objects.create(name=self.name, cluster=self.name, prometheus_url=server.url)

    def answer(self, path: str) -> tuple[int, Any]:
        if path == "/api/v1/status/config":
            return 200, {"data": {"yaml": self.configuration}}
        samples = [[time.time() - 1, "1"], [time.time(), "1"]]
        return 200, {"data": {"result": [{"metric": labels, "values": samples} for labels in self.firing]}}

    def away_for(self, **period: float) -> datetime:
        """When it was last asked."""
        until = datetime.now(UTC) - timedelta(**period)
        Poll.objects.update_or_create(source=self.name, kind=KIND, defaults={"until": until})
        return until

    def ranges(self) -> list[tuple[float, float]]:
        """Begin and end of what was asked, in seconds since 1970."""
        found = []
        for asked in self.server.asked:
            if "query" in (query := parse_qs(urlsplit(asked.path).query)) and "ALERTS" in query["query"][0]:
                end = float(query["time"][0])
                found.append((end - float(query["query"][0].partition("[")[2].removesuffix("s]")), end))
        return found

    def missed(self) -> list[dict[str, str] | None]:
        return [gap.labels for gap in Gap.objects.open().filter(source=self.name, reason="outage").order_by("pk")]


@pytest.fixture
def memory(monkeypatch) -> Iterator[Memory]:
    monkeypatch.setattr(settings, "ALERT_GRACE_SECONDS", 0)
    with fake_server(lambda path: (200, {})) as server:
        yield (found := Memory(server))
    Source.objects.filter(cluster=found.name).update(is_active=False)


def test_the_first_question_is_about_now(memory):
    list(ask_prometheus(memory.watched))

    [(begin, end)] = memory.ranges()
    assert end == pytest.approx(time.time(), abs=5)
    assert end - begin == pytest.approx(60, abs=1)  # the overlap


def test_the_next_one_goes_on_from_there_with_an_overlap(memory):
    until = memory.away_for(seconds=15)
    list(ask_prometheus(memory.watched))

    [(begin, _)] = memory.ranges()
    assert begin == pytest.approx(until.timestamp() - 60, abs=2)


def test_a_long_absence_is_made_up_for_in_steps_without_a_hole(memory):
    until = memory.away_for(minutes=35)
    list(ask_prometheus(memory.watched))

    ranges = memory.ranges()
    assert len(ranges) == 4
    assert ranges[0][0] == pytest.approx(until.timestamp() - 60, abs=2)
    assert all(begin <= end for (begin, _), (_, end) in zip(ranges[1:], ranges[:-1], strict=True))


def test_the_look_back_ends_at_prometheus_retention(memory):
    memory.away_for(days=30)
    next(ask_prometheus(memory.watched))

    assert memory.ranges()[0][0] == pytest.approx(time.time() - 15 * 86_400 - 60, abs=10)


def test_a_new_worker_asks_for_what_the_one_before_may_not_have_judged_until_it_is_answered(memory, monkeypatch):
    monkeypatch.setattr(settings, "ALERT_GRACE_SECONDS", 120)
    until = memory.away_for(seconds=30)
    memory.server.answer = lambda path: (503, b"")
    comparison = Comparison()
    with pytest.raises(PollError):
        comparison.turn()
    memory.server.answer = memory.answer
    comparison.turn()

    assert memory.ranges()[-1][0] == pytest.approx(until.timestamp() - 120 - 60, abs=2)


def test_an_unanswered_range_is_queried_again(memory):
    until = memory.away_for(minutes=5)
    memory.server.answer = lambda path: (503, b"")
    with pytest.raises(PollError):
        list(ask_prometheus(memory.watched))

    assert Poll.objects.get(source=memory.name, kind=KIND).until == until


def test_the_result_of_one_step_survives_the_failure_of_the_next(memory):
    """It will not be asked again."""
    name, fired = f"Early{secrets.token_hex(4)}", memory.away_for(minutes=35).timestamp() + 60
    results = [[{"metric": {"alertname": name}, "values": [[fired, "1"]]}]]

    def answer_once(path: str) -> tuple[int, Any]:
        if path == "/api/v1/status/config":
            return 200, {"data": {"yaml": ""}}
        return (200, {"data": {"result": results.pop()}}) if results else (503, b"")

    memory.server.answer = answer_once
    comparison = Comparison()
    with pytest.raises(PollError):
        comparison.turn()
    memory.server.answer = memory.answer
    comparison.turn()

    assert memory.missed() == [{"alertname": name}]


def test_an_alert_of_rules_that_are_evaluated_seldom_is_missed_once(memory):
    """Between two of its samples lies more than the usual interval."""
    until = memory.away_for(minutes=9).timestamp()
    name = f"Seldom{secrets.token_hex(4)}"
    samples = [[until + 120 * number, "1"] for number in range(4)]

    def answer(path: str) -> tuple[int, Any]:
        if path == "/api/v1/status/config":
            return 200, {"data": {"yaml": "global: {evaluation_interval: 15s}"}}
        if path.startswith("/api/v1/rules"):
            groups = [{"interval": 15, "rules": [{}]}, {"interval": 120, "rules": [{}]}, {"interval": 900, "rules": []}]
            return 200, {"data": {"groups": groups}}
        return 200, {"data": {"result": [{"metric": {"alertname": name}, "values": samples}]}}

    memory.server.answer = answer
    Comparison().turn()

    assert memory.missed() == [{"alertname": name}]


def test_partly_known_labels_match_an_alert_that_has_more(memory):
    memory.configuration = RELABELLED
    known, unknown = f"Known{secrets.token_hex(4)}", f"Unknown{secrets.token_hex(4)}"
    record_delivery(source=memory.name, body=alertmanager_body(known))  # it has a severity as well
    project_pending()
    memory.firing = [{"alertname": known}, {"alertname": unknown}]

    Comparison().turn()

    assert memory.missed() == [{"alertname": unknown}]


def test_labels_that_are_all_there_must_be_the_same(memory):
    name = f"Known{secrets.token_hex(4)}"
    record_delivery(source=memory.name, body=alertmanager_body(name))
    project_pending()
    memory.firing = [{"alertname": name}, {"alertname": name, "severity": "critical"}]

    Comparison().turn()

    assert memory.missed() == [{"alertname": name}]


class Inhibited:
    """An alert that Alertmanager inhibited, and that only Prometheus still remembers. Times are seconds ago."""

    def __init__(self, memory: Memory) -> None:
        self.memory, self.labels = memory, {"alertname": f"Inhibited{secrets.token_hex(4)}"}
        self.held: list[dict[str, Any]] = []
        self.samples: list[list[Any]] = []
        self.prometheus_answers = True
        memory.server.answer = self.answer
        Source.objects.filter(name=memory.name).update(alertmanager_url=memory.server.url)

    def answer(self, path: str) -> tuple[int, Any]:
        if path == "/api/v2/alerts":
            return 200, self.held
        if path == "/api/v1/status/config":
            return 200, {"data": {"yaml": ""}}
        series = [{"metric": self.labels, "values": self.samples}] if self.samples else []
        return (200, {"data": {"result": series}}) if self.prometheus_answers else (503, b"")

    def hold(self) -> None:
        status = {"state": "suppressed", "silencedBy": [], "inhibitedBy": ["cause"]}
        self.held = [{"labels": self.labels, "startsAt": "2026-11-22T10:00:00Z", "fingerprint": "f", "status": status}]

    def end(self, at: float) -> None:
        """Alertmanager has no alert any more, and Prometheus remembers its last two samples."""
        self.held, self.samples = [], [[time.time() - at - 1, "1"], [time.time() - at, "1"]]

    def observed(self, at: float, *, held: bool) -> None:
        """The worker before stored this answer of Alertmanager."""
        alert = {"labels": self.labels, "starts_at": "", "fingerprint": "f", "state": "suppressed"}
        body = canonical({"cluster": self.memory.name, "alerts": [alert] if held else []})
        Observation.objects.create(
            source=self.memory.name,
            kind=Observation.Kind.ALERTMANAGER,
            body=body,
            sha256=hashlib.sha256(body).digest(),
            observed_at=datetime.now(UTC) - timedelta(seconds=at),
        )

    def polled(self, at: float) -> None:
        """The worker before polled both sources for the last time."""
        until = {"until": datetime.now(UTC) - timedelta(seconds=at)}
        for kind in (Observation.Kind.ALERTMANAGER, Observation.Kind.PROMETHEUS):
            Poll.objects.update_or_create(source=self.memory.name, kind=kind, defaults=until)


class History:
    """A Prometheus that remembers when an alert fired, and an Alertmanager beside it. Times are seconds ago."""

    def __init__(self, memory: Memory) -> None:
        self.memory, self.labels = memory, {"alertname": f"Fired{secrets.token_hex(4)}", "severity": "critical"}
        self.samples: list[int] = []
        self.held: list[dict[str, Any]] = []
        self.answers_until = time.time() + 3600
        memory.server.answer = self.answer
        Source.objects.filter(name=memory.name).update(alertmanager_url=memory.server.url)

    def answer(self, path: str) -> tuple[int, Any]:
        if path == "/api/v2/alerts":
            return 200, self.held
        if path != "/api/v1/query":
            return 200, {"data": {"yaml": "", "groups": []}}
        begin, end = self.memory.ranges()[-1]
        if end > self.answers_until:
            return 503, b""
        samples = [[sample, "1"] for sample in self.samples if begin < sample <= end]
        return 200, {"data": {"result": [{"metric": self.labels, "values": samples}] if samples else []}}

    def fired(self, begin: float, end: float) -> None:
        now = round(time.time())
        self.samples += range(now - round(begin), now - round(end) + 1, 15)

    def hold(self, *, since: float) -> None:
        status = {"state": "active", "silencedBy": [], "inhibitedBy": []}
        self.held = [{"labels": self.labels, "startsAt": ago(since).isoformat(), "status": status}]

    def deliver(self, *, since: float) -> None:
        self.receive(since=since)
        project_pending()

    def receive(self, *, since: float) -> None:
        body = alertmanager_body(self.labels["alertname"])
        body = body.replace(b"2026-11-22T13:40:00Z", ago(since).isoformat().encode())
        record_delivery(source=self.memory.name, body=body)

    def missed_since(self) -> list[float]:
        """When the missed alerts began."""
        gaps = Gap.objects.filter(source=self.memory.name, reason="outage", closes=None).order_by("pk")
        return [time.time() - gap.since.timestamp() for gap in gaps]


def ago(seconds: float) -> datetime:
    return datetime.now(UTC) - timedelta(seconds=seconds)


@pytest.fixture
def inhibited(memory) -> Inhibited:
    return Inhibited(memory)


def test_a_new_worker_knows_inhibited_alerts_as_far_back_as_it_asks_prometheus(inhibited):
    """This is a minute more than the grace, however short the grace is."""
    inhibited.observed(42, held=True)
    inhibited.observed(40, held=False)
    inhibited.observed(20, held=True)
    inhibited.observed(15, held=False)
    inhibited.polled(0)
    inhibited.end(41)
    Comparison().turn()

    assert inhibited.memory.missed() == []


def test_a_new_worker_knows_that_an_unchanged_alert_was_inhibited_until_it_ended(inhibited):
    """Only the first of many equal answers is stored."""
    inhibited.observed(600, held=True)
    inhibited.observed(2, held=False)
    inhibited.polled(0)
    inhibited.end(3)
    Comparison().turn()

    assert inhibited.memory.missed() == []


def test_an_inhibited_alert_is_known_until_prometheus_answers_again(inhibited, monkeypatch):
    inhibited.hold()
    comparison = Comparison()
    comparison.turn()
    inhibited.end(0)
    inhibited.prometheus_answers = False
    monkeypatch.setattr(compare, "datetime", AnHourLater)
    with pytest.raises(PollError):
        comparison.turn()
    inhibited.prometheus_answers = True
    comparison.turn()

    assert inhibited.memory.missed() == []


def test_an_inhibited_alert_is_known_until_the_prometheus_of_each_peer_answers_again(inhibited, monkeypatch):
    cluster, fired = inhibited.memory.name, time.time()
    with fake_server(inhibited.answer) as peer:
        Source.objects.create(name=f"{cluster}-z", cluster=cluster, alertmanager_url=peer.url, prometheus_url=peer.url)
        comparison = Comparison()
        comparison.turn()
        peer.answer = lambda path: (503, b"")
        inhibited.hold()
        with pytest.raises(PollError):
            comparison.turn()
        inhibited.held, inhibited.samples = [], [[fired, "1"]]
        for module in (compare, observe):
            monkeypatch.setattr(module, "datetime", AnHourLater)
        for _ in range(2):  # what the first one read is judged before the second one
            with pytest.raises(PollError):
                comparison.turn()
        peer.answer = inhibited.answer
        comparison.turn()

    assert not Gap.objects.filter(reason="outage", details__cluster=cluster).exists()


def test_a_new_worker_knows_inhibited_alerts_as_far_back_as_it_asks_the_prometheus_of_a_peer(inhibited):
    cluster, url = inhibited.memory.name, inhibited.memory.server.url
    inhibited.observed(3700, held=True)
    inhibited.observed(3500, held=False)
    inhibited.polled(0)
    Source.objects.create(name=f"{cluster}-z", cluster=cluster, prometheus_url=url)
    Poll.objects.create(source=f"{cluster}-z", kind=KIND, until=ago(3650))
    inhibited.end(3600)
    Comparison().turn()

    assert not Gap.objects.filter(reason="outage", details__cluster=cluster).exists()


def test_an_inhibited_alert_that_fires_again_while_no_worker_polls_is_missed(inhibited):
    inhibited.observed(60, held=True)
    inhibited.polled(30)
    inhibited.end(5)
    Comparison().turn()

    assert inhibited.memory.missed() == [inhibited.labels]


@pytest.fixture
def history(memory) -> History:
    return History(memory)


def test_an_alert_that_fires_again_does_not_hide_that_it_was_missed(history):
    history.memory.away_for(hours=2)
    history.fired(3600, 3500)
    history.fired(60, 0)
    history.hold(since=60)
    history.deliver(since=60)
    Comparison().turn()

    assert history.missed_since() == [pytest.approx(3600, abs=30)]


def test_a_new_worker_judges_what_the_one_before_only_read(history, monkeypatch):
    """No alert is judged while deliveries wait for the projection."""
    monkeypatch.setattr("alerts_audit.models.inputs.PROJECTED_WITHIN", timedelta(seconds=-60))
    history.memory.away_for(hours=2)
    history.fired(3600, 3500)
    history.receive(since=60)
    for _ in range(3):
        Comparison().turn()
    assert history.missed_since() == []

    project_pending()
    Comparison().turn()

    assert history.missed_since() == [pytest.approx(3600, abs=30)]


def test_a_new_worker_asks_no_further_back_than_the_first_alert_that_was_not_judged(history):
    history.memory.away_for(hours=2)
    history.fired(3600, 3500)
    for _ in range(2):
        worker = Comparison()
        worker.turn()
        worker.turn()
    asked = len(history.memory.ranges())
    Comparison().turn()

    assert len(history.memory.ranges()) == asked + 1
    assert len(history.missed_since()) == 1


def a_worker_misses_it(history: History, upto: float) -> None:
    """It opens the gap 40 minutes ago, and reads on until that time."""
    worker = Comparison()
    history.memory.away_for(hours=1)
    for end in (2390, upto):
        history.answers_until = time.time() - end
        with suppress(PollError):
            worker.turn()
    history.answers_until = time.time() + 3600


def test_a_new_worker_opens_no_second_gap_for_an_alert_that_still_fires(history):
    history.fired(3000, 0)
    a_worker_misses_it(history, upto=-10)
    for _ in range(2):
        Comparison().turn()

    assert history.missed_since() == [pytest.approx(3000, abs=30)]


def test_a_new_worker_opens_a_second_gap_for_an_alert_that_fires_again(history):
    history.fired(3000, 1500)
    history.fired(1000, 0)
    a_worker_misses_it(history, upto=1190)
    Comparison().turn()

    assert history.missed_since() == [pytest.approx(3000, abs=30), pytest.approx(1000, abs=30)]


def test_peers_that_share_a_prometheus_miss_an_alert_once(memory):
    Source.objects.create(name=f"{memory.name}-b", cluster=memory.name, prometheus_url=memory.server.url)
    memory.firing = [{"alertname": f"Shared{secrets.token_hex(4)}"}]
    Comparison().turn()
    Source.objects.filter(cluster=memory.name).update(is_active=False)

    assert Gap.objects.filter(details__cluster=memory.name).count() == 1
