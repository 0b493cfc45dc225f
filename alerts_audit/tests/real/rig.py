"""Real Alertmanagers around a real platform, with intervals of a fraction of a second.

Each test has a source and a cluster of its own, so it looks at nothing else though all share one database.
"""

import json
import re
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from alerts_audit.models import Delivery, Episode, Gap, Observation, Pending, Poll, Source
from alerts_audit.sources.tokens import add_source
from alerts_audit.tests.completeness.servers import FakeServer
from fintech.testing.processes import Platform, Program, answers, free_port, request, wait_until

ALERTMANAGER = shutil.which("alertmanager") or shutil.which("prometheus-alertmanager")
PROMETHEUS = shutil.which("prometheus")

# What the worker needs to be as quick as the routes below.
QUICK = {"ALERT_POLL_SECONDS": "0.3", "ALERT_GRACE_SECONDS": "2", "ALERT_QUIET_SECONDS": "2"}

CONFIGURATION = """
route:
  receiver: audit
  group_by: [alertname]
  group_wait: 100ms
  group_interval: 500ms
  repeat_interval: {repeat_interval}
receivers:
  - name: audit
    webhook_configs:
      - url: {url}
        max_alerts: {max_alerts}
        http_config:
          follow_redirects: false
          authorization: {{credentials: {token}}}
inhibit_rules:
  - source_matchers: [severity = "critical"]
    target_matchers: [severity = "warning"]
    equal: [shop]
"""


class Alertmanager:
    """One peer: a program, and the API that tests use."""

    def __init__(self, program: Program, port: int, cluster_port: int, token: str, configuration: Path) -> None:
        self.program, self.port, self.cluster_port = program, port, cluster_port
        self.token, self.configuration = token, configuration
        self.fired_at = datetime.now(UTC)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        self.program.start(ready=partial(answers, self.port, "/-/ready"))

    def post(self, path: str, body: Any) -> Any:
        reply = request(self.port, "POST", path, body)
        assert reply.status == 200, reply.body
        return reply.body

    def fire(self, *alerts: dict[str, str], minutes: float = 60) -> None:
        """As Prometheus would say it: each ends by itself unless it is repeated."""
        now = self.fired_at = datetime.now(UTC)
        ends_at = (now + timedelta(minutes=minutes)).isoformat()
        content = [
            {"labels": labels, "startsAt": now.isoformat(), "endsAt": ends_at, "annotations": {"summary": "A test."}}
            for labels in alerts
        ]
        self.post("/api/v2/alerts", content)

    def resolve(self, *alerts: dict[str, str]) -> None:
        now = datetime.now(UTC)
        starts_at = (now - timedelta(seconds=60)).isoformat()
        self.post(
            "/api/v2/alerts",
            [{"labels": labels, "startsAt": starts_at, "endsAt": now.isoformat()} for labels in alerts],
        )

    def silence(self, name: str) -> str:
        """The id of a silence of all alerts of this name."""
        now = datetime.now(UTC)
        matcher = {"name": "alertname", "value": name, "isRegex": False, "isEqual": True}
        content = {
            "matchers": [matcher],
            "startsAt": now.isoformat(),
            "endsAt": (now + timedelta(hours=1)).isoformat(),
            "createdBy": "ann",
            "comment": "a planned test",
        }
        return self.post("/api/v2/silences", content)["silenceID"]

    def end_silence(self, key: str) -> None:
        assert request(self.port, "DELETE", f"/api/v2/silence/{key}").status == 200


RULES = """
groups:
  - name: test
    rules:
      - alert: {name}
        expr: vector({value}) > 0
        labels: {{severity: critical}}
"""
PROMETHEUS_CONFIGURATION = """
global:
  evaluation_interval: 200ms
  external_labels: {{region: north, replica: a}}
rule_files: [rules.yml]
alerting:
  alert_relabel_configs:
    - {{regex: replica, action: labeldrop}}
  alertmanagers:
    - static_configs:
        - targets: ["127.0.0.1:{port}"]
"""


class Prometheus:
    """With one rule, whose alert fires on demand. Peers of a pair differ in `replica`, which is dropped on the way."""

    def __init__(self, folder: Path, alertmanager: Alertmanager) -> None:
        self._folder, self.port = folder, free_port()
        folder.mkdir()
        (folder / "prometheus.yml").write_text(PROMETHEUS_CONFIGURATION.format(port=alertmanager.port))
        self._write_rule("Nothing", 0)
        self.program = Program(
            [
                PROMETHEUS or "prometheus",
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{self.port}",
                "--web.enable-lifecycle",
                "--rules.alert.resend-delay=200ms",
                "--log.level=warn",
            ],
            log=folder / "log",
        )
        self.program.start(ready=partial(answers, self.port, "/-/ready"))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def _write_rule(self, name: str, value: int) -> None:
        (self._folder / "rules.yml").write_text(RULES.format(name=name, value=value))

    def fire(self, name: str) -> None:
        self._set(name, 1)
        wait_until(lambda: name in self.firing(), 30, "it fires")

    def resolve(self, name: str) -> None:
        self._set(name, 0)
        wait_until(lambda: name not in self.firing(), 30, "it fires no more")

    def firing(self) -> list[str]:
        found = request(self.port, "GET", "/api/v1/alerts").body["data"]["alerts"]
        return [alert["labels"]["alertname"] for alert in found if alert["state"] == "firing"]

    def _set(self, name: str, value: int) -> None:
        self._write_rule(name, value)
        assert request(self.port, "POST", "/-/reload").status == 200


class Scene:
    """A cluster of the trail with its peers, and what the trail says of it."""

    def __init__(self, platform: Platform, directory: Path) -> None:
        self.platform, self.directory = platform, directory
        self.cluster = f"real-{secrets.token_hex(4)}"
        self.sources: list[Source] = []
        self.peers: list[Alertmanager] = []
        self.programs: list[Program] = []

    def add_peer(
        self, *, max_alerts: int = 0, token: str | None = None, repeat_interval: str = "1h", together: bool = False
    ) -> Alertmanager:
        """A source with its Alertmanager. `together`: it joins the peers that there are."""
        name = f"{self.cluster}-{len(self.peers)}"
        source, _, secret = add_source(name=name, cluster=self.cluster)
        folder = self.directory / name
        folder.mkdir()
        text = CONFIGURATION.format(
            url=f"{self.platform.url}/alert",
            token=token or secret,
            max_alerts=max_alerts,
            repeat_interval=repeat_interval,
        )
        configuration = folder / "alertmanager.yml"
        configuration.write_text(text)
        port, cluster_port = free_port(), free_port()
        program = Program(
            [
                ALERTMANAGER or "alertmanager",
                f"--config.file={configuration}",
                f"--storage.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
                f"--cluster.listen-address={f'127.0.0.1:{cluster_port}' if together else ''}",
                "--cluster.peer-timeout=1s",
                "--cluster.gossip-interval=50ms",
                "--cluster.pushpull-interval=500ms",
                "--cluster.settle-timeout=1s",
                *(f"--cluster.peer=127.0.0.1:{peer.cluster_port}" for peer in self.peers if together),
                "--log.level=warn",
            ],
            log=folder / "log",
        )
        peer = Alertmanager(program, port, cluster_port, secret, configuration)
        peer.start()
        source.alertmanager_url = peer.url
        source.save()
        self.sources.append(source)
        self.peers.append(peer)
        self.programs.append(program)
        return peer

    def add_prometheus(self, peer: Alertmanager) -> Prometheus:
        """In front of this peer; the worker asks it as well."""
        source = self.sources[self.peers.index(peer)]
        prometheus = Prometheus(self.directory / "prometheus", peer)
        self.programs.append(prometheus.program)
        source.prometheus_url = prometheus.url
        source.save()
        return prometheus

    def expect_heartbeat(self, *, seconds: int) -> None:
        Source.objects.filter(name__in=self.names()).update(heartbeat_seconds=seconds)

    def give_token(self, peer: Alertmanager) -> None:
        """The right one, in place of whatever it has."""
        text = re.sub("credentials: [^}]*", f"credentials: {peer.token}", peer.configuration.read_text())
        peer.configuration.write_text(text)
        peer.post("/-/reload", None)

    def close(self) -> None:
        Source.objects.filter(cluster=self.cluster).update(is_active=False)
        for program in self.programs:
            program.kill()

    # --- What the trail says -----------------------------------------------------------------------------------

    def names(self) -> list[str]:
        return [source.name for source in self.sources]

    def deliveries(self) -> list[dict[str, Any]]:
        """The bodies that came, oldest first."""
        bodies = Delivery.objects.filter(source__in=self.names()).order_by("pk").values_list("body", flat=True)
        return [json.loads(bytes(body)) for body in bodies]

    def statuses(self) -> list[str]:
        """Return the statuses of the deliveries, oldest first."""
        return [body["status"] for body in self.deliveries()]

    def polls(self) -> set[str]:
        """Return the polls of the first source."""
        return set(Poll.objects.filter(source=self.names()[0]).values_list("kind", flat=True))

    def messages(self, bot: FakeServer) -> list[str]:
        """Return the direct messages about these sources."""
        texts = [asked.body["text"] for asked in bot.asked]
        return [text for text in texts if self.cluster in text]

    def senders(self) -> set[str]:
        return set(Delivery.objects.filter(source__in=self.names()).values_list("source", flat=True))

    def count_of_state(self, name: str, state: str) -> int:
        """Count the alerts of a name that no other test uses."""
        return Episode.objects.filter(alertname=name, state=state).count()

    def episodes(self, *, name: str | None = None) -> list[Episode]:
        found = Episode.objects.filter(identity__cluster=self.cluster).order_by("pk")
        return list(found.filter(alertname=name) if name else found)

    def states(self, *, name: str | None = None) -> list[str]:
        return [episode.state for episode in self.episodes(name=name)]

    def seen(self, labels: dict[str, str]) -> bool:
        """Return True if an observation contains it."""
        bodies = Observation.objects.filter(source__in=self.names()).values_list("body", flat=True)
        return any(alert["labels"] == labels for body in bodies for alert in json.loads(bytes(body)).get("alerts", []))

    def gaps(self, reason: str | None = None) -> list[Gap]:
        found = Gap.objects.filter(source__in=self.names(), closes=None).order_by("pk")
        return list(found.filter(reason=reason) if reason else found)

    def open_gaps(self, reason: str | None = None) -> list[Gap]:
        found = Gap.objects.open().filter(source__in=self.names())
        return list(found.filter(reason=reason) if reason else found)

    def missing(self) -> list[tuple[str, str, dict[str, Any]]]:
        return [(gap.reason, gap.subject, gap.details) for gap in self.open_gaps()]

    def get_closing(self, gap: Gap) -> Gap:
        return Gap.objects.get(closes=gap)

    def wait_for_states(self, states: Sequence[str], *, name: str | None = None, timeout: float = 30) -> None:
        def reached() -> bool:
            return self.states(name=name) == list(states)

        wait_until(reached, timeout, f"the episodes are {states}", interval=0.1)

    def wait_for_gap(self, reason: str, *, timeout: float = 30) -> Gap:
        return wait_until(lambda: self.open_gaps(reason), timeout, f"a gap {reason} is open", interval=0.1)[0]

    def wait_for_no_gap(self, reason: str, *, timeout: float = 30) -> None:
        wait_until(lambda: not self.open_gaps(reason), timeout, f"no gap {reason} is open", interval=0.1)

    def assert_complete(self) -> None:
        """All that fired was judged by now, and nothing is missing.

        What came later than the grace is a gap until the next poll finds it there: one that stays is a loss.
        """
        over = max(peer.fired_at for peer in self.peers) + timedelta(seconds=float(QUICK["ALERT_GRACE_SECONDS"]))
        wait_until(lambda: datetime.now(UTC) > over, 30, "the grace is over")
        now = datetime.now(UTC)
        polls = Poll.objects.filter(source__in=self.names(), kind="alertmanager", until__gt=now)
        wait_until(polls.exists, 30, "the worker has asked again")
        wait_until(lambda: not Pending.objects.filter(kind="delivery", at__lt=now).exists(), 30, "it is projected")
        wait_until(lambda: not self.open_gaps(), 20, lambda: f"no gap is open: {self.missing()}")


@contextmanager
def scene(platform: Platform, directory: Path) -> Iterator[Scene]:
    found = Scene(platform, directory)
    try:
        yield found
    finally:
        found.close()
