"""Run real Prometheus, Alertmanager and exporters around a separate platform, for the lab and the drills."""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from fintech.testing.processes import Program, answers, free_port, request, running
from loadtests.own_platform import OwnPlatform
from observability.render import HERE, Telegram, alertmanager_command, prometheus_command, render

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


def back_fill(storage: Path, samples: str) -> None:
    """Write blocks with the samples of an OpenMetrics text into the storage of a Prometheus that does not run."""
    storage.mkdir()
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as text:
        text.write(samples)
        text.flush()
        command = ["promtool", "tsdb", "create-blocks-from", "openmetrics", text.name, str(storage)]
        subprocess.run(command, check=True, capture_output=True)


@dataclass
class Monitoring:
    """Monitoring with rules that run `speed` times as fast."""

    directory: Path
    speed: float
    scrape_seconds: float = SCRAPE_SECONDS
    prometheus: int = field(default_factory=free_port)
    alertmanager: int = field(default_factory=free_port)
    # By job, once it has started.
    programs: dict[str, Program] = field(default_factory=dict)

    @property
    def configuration(self) -> Path:
        return self.directory / "monitoring"

    @property
    def peers(self) -> dict[str, str]:
        """Return the settings with which a worker polls this monitoring."""
        ports = {"ALERTMANAGER_URL": self.alertmanager, "PROMETHEUS_URL": self.prometheus}
        return {name: f"http://{address(port)}" for name, port in ports.items()}

    def start(
        self,
        stack: ExitStack,
        own: OwnPlatform,
        *,
        exporters: Mapping[str, Sequence[str]],
        keeps: ExitStack,
        telegram: Telegram | None = None,
        change: Callable[[Path], object] | None = None,
    ) -> frozenset[str]:
        """Start everything and the installed exporters until `stack` closes, Prometheus until `keeps` closes.

        `change` edits the folder of the configuration before the programs read it. Return the jobs of the exporters.
        """
        ports = self._start_exporters(stack, own, exporters)
        self._render(own, ports, telegram)
        if change is not None:
            change(self.configuration)
        for job, kept, port, make in (
            ("alertmanager", stack, self.alertmanager, alertmanager_command),
            ("prometheus", keeps, self.prometheus, partial(prometheus_command, speed=self.speed)),
        ):
            command = make(self.configuration, self.directory / job, address(port)) or []
            self._start(kept, job, command, {}, partial(answers, port, "/-/ready"))
        return frozenset(ports)

    def _start_exporters(
        self, stack: ExitStack, own: OwnPlatform, exporters: Mapping[str, Sequence[str]]
    ) -> dict[str, int]:
        """Start the installed ones. Return their ports, by job."""
        database = own.server.url("postgres", "fintech")
        environment = {"DATA_SOURCE_NAME": database, "SSL_CERT_FILE": str(self.directory / "authority.pem")}
        ports = {job: free_port() for job, command in exporters.items() if shutil.which(command[0])}
        for job, port in ports.items():
            command = [*exporters[job], f"--web.listen-address={address(port)}"]
            self._start(stack, job, command, environment, partial(answers, port, "/metrics"))
        return ports

    def _render(self, own: OwnPlatform, ports: Mapping[str, int], telegram: Telegram | None) -> None:
        token_file = self.directory / "alert_token"
        token_file.write_text(os.environ["ALERT_TOKEN"])
        render(
            self.configuration,
            web_target=address(own.platform.metrics_port),
            worker_target=address(own.platform.worker_port),
            alertmanager_target=address(self.alertmanager),
            webhook_url=f"{own.platform.url}/alert",
            token_file=token_file,
            other_targets={job: address(port) for job, port in {"prometheus": self.prometheus, **ports}.items()},
            probes={"web": f"{own.platform.url}/ready", "gateway": f"{own.gateway.url}/health"},
            interval_seconds=self.scrape_seconds,
            telegram=telegram,
            speed=self.speed,
        )

    def back_fill(self, history: str) -> None:
        """Give Prometheus the samples of an OpenMetrics text, before it starts."""
        back_fill(self.directory / "prometheus", history)

    def targets(self, job: str) -> Path:
        return self.configuration / "targets" / f"{job}.yml"

    def write_targets(self, job: str, groups: Sequence[Mapping[str, object]]) -> None:
        """Replace the targets of a job, which Prometheus takes within seconds."""
        draft = self.targets(job).with_suffix(".new")
        draft.write_text(json.dumps(groups))
        draft.replace(self.targets(job))

    def read_targets(self, job: str) -> list[dict[str, Any]]:
        return json.loads(self.targets(job).read_text())

    def _start(
        self,
        stack: ExitStack,
        job: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        ready: Callable[[], bool],
    ) -> None:
        log = self.directory / f"{job}.log"
        self.programs[job] = stack.enter_context(running(command, environment, log=log, ready=ready))
