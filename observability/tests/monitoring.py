"""Run real Prometheus, Alertmanager and exporters around a separate platform, for the lab and the drills."""

import shutil
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from django.conf import settings

from fintech.testing.processes import answers, free_port, request, running
from observability.render import HERE, alertmanager_command, prometheus_command, render
from payments.tests.own_platform import OwnPlatform

SCRAPE_SECONDS = 1
# Job -> command of an exporter, without its address; the programs' names are Debian's.
EXPORTERS = {
    "node": ["prometheus-node-exporter"],
    "postgres": ["prometheus-postgres-exporter"],
    "blackbox": ["prometheus-blackbox-exporter", f"--config.file={HERE / 'blackbox' / 'blackbox.yml'}"],
}


def is_installed() -> bool:
    return bool(prometheus_command("", "", "") and alertmanager_command("", "", ""))


def ask(prometheus: int, path: str, **parameters: object) -> Any:
    """Return the data of a response of Prometheus's API."""
    reply = request(prometheus, "GET", f"/api/v1/{path}?{urlencode(parameters)}")
    assert reply.status == 200, f"{parameters}: {reply.body}"
    return reply.body["data"]


def address(port: int) -> str:
    return f"127.0.0.1:{port}"


@dataclass
class Monitoring:
    """Monitoring with rules that run `speed` times as fast. Scrapes and evaluations run every second."""

    directory: Path
    speed: float
    prometheus: int = field(default_factory=free_port)
    alertmanager: int = field(default_factory=free_port)

    @property
    def peers(self) -> dict[str, str]:
        """Return the settings of a worker that polls them."""
        ports = {"ALERTMANAGER_URL": self.alertmanager, "PROMETHEUS_URL": self.prometheus}
        return {name: f"http://{address(port)}" for name, port in ports.items()}

    def start(self, stack: ExitStack, own: OwnPlatform, *, wanted: list[str], keeps: ExitStack) -> frozenset[str]:
        """Start everything and the installed exporters until `stack` closes, Prometheus until `keeps` closes.

        Return the jobs of the exporters.
        """
        database = own.server.url("postgres", "fintech")
        found = {job: port for job in wanted if (port := start_exporter(stack, job, self.directory, database))}
        (self.directory / "alert_token").write_text(settings.ALERT_TOKEN)
        folder = self.directory / "monitoring"
        render(
            folder,
            web_target=address(own.platform.metrics_port),
            worker_target=address(own.platform.worker_port),
            alertmanager_target=address(self.alertmanager),
            webhook_url=f"{own.platform.url}/alert",
            token_file=self.directory / "alert_token",
            other_targets={job: address(port) for job, port in {"prometheus": self.prometheus, **found}.items()},
            probes={"web": f"{own.platform.url}/ready", "gateway": f"{own.gateway.url}/health"},
            interval_seconds=SCRAPE_SECONDS,
            speed=self.speed,
        )
        first = alertmanager_command(folder, self.directory / "alertmanager", address(self.alertmanager))
        second = prometheus_command(folder, self.directory / "prometheus", address(self.prometheus), speed=self.speed)
        for kept, port, command in ((stack, self.alertmanager, first), (keeps, self.prometheus, second)):
            assert command
            ready = partial(answers, port, "/-/ready")
            kept.enter_context(running(command, log=self.directory / f"{Path(command[0]).name}.log", ready=ready))
        return frozenset(found)


def start_exporter(stack: ExitStack, job: str, directory: Path, database: str) -> int | None:
    """Start an exporter and return its port, or None if it is not installed."""
    if shutil.which(EXPORTERS[job][0]) is None:
        return None
    port = free_port()
    command = [*EXPORTERS[job], f"--web.listen-address={address(port)}"]
    ready = partial(answers, port, "/metrics")
    stack.enter_context(running(command, {"DATA_SOURCE_NAME": database}, log=directory / f"{job}.log", ready=ready))
    return port
