"""The monitoring, with the rules and routes of Compose, as far as its programs are installed."""

import shutil
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from fintech import env
from fintech.run import RunError
from fintech.run.checks import is_free
from fintech.run.layout import Layout
from fintech.run.programs import Program
from fintech.secret_files import write_secret
from observability.loaded import missing_in_alertmanager, missing_in_prometheus
from observability.render import Telegram, alertmanager_command, prometheus_command, render

# The programs in order of start, by their names in `Ports`, with their packages of Debian and Ubuntu.
PACKAGES = {
    "node_exporter": "prometheus-node-exporter",
    "blackbox_exporter": "prometheus-blackbox-exporter",
    "alertmanager": "prometheus-alertmanager",
    "prometheus": "prometheus",
}
# Optional programs: if their port is taken, they are left out, and only their metrics are missing.
EXPORTERS = ("node_exporter", "blackbox_exporter")


def monitoring_programs(layout: Layout, environment: Mapping[str, str]) -> list[Program]:
    """Return the programs that were found, and write their configuration."""
    commands = find_commands(layout)
    write_configuration(layout, environment, commands)
    return [Program(name, command) for name, command in commands.items()]


def find_commands(layout: Layout) -> dict[str, list[str]]:
    """Return the commands of installed programs by name, without those whose port another program has."""
    configuration = layout.run / "observability"
    address = {name: f"127.0.0.1:{getattr(layout.ports, name)}" for name in PACKAGES}
    listen = {name: f"--web.listen-address={address[name]}" for name in EXPORTERS}
    blackbox_file = f"--config.file={configuration / 'blackbox.yml'}"
    commands = {
        "node_exporter": exporter_command("node-exporter", listen["node_exporter"]),
        "blackbox_exporter": exporter_command("blackbox-exporter", listen["blackbox_exporter"], blackbox_file),
        "alertmanager": alertmanager_command(configuration, layout.var / "alertmanager", address["alertmanager"]),
        "prometheus": prometheus_command(configuration, layout.var / "prometheus", address["prometheus"]),
    }
    return {
        name: command
        for name, command in commands.items()
        if command is not None and (name not in EXPORTERS or is_free(getattr(layout.ports, name)))
    }


def exporter_command(name: str, *options: str) -> list[str] | None:
    """Return the command, by Debian's name or upstream's, or None if it is not installed."""
    program = shutil.which(f"prometheus-{name}") or shutil.which(name.replace("-", "_"))
    return None if program is None else [program, *options, "--log.level=warn"]


def write_configuration(layout: Layout, environment: Mapping[str, str], commands: Mapping[str, list[str]]) -> None:
    ports = layout.ports
    if token_file := environment.get("ALERT_TOKEN_FILE"):
        token_path = Path(token_file)
    else:
        token_path = layout.secrets / "alert_token"
        write_secret(token_path, environment["ALERT_TOKEN"])
    if "*" in str(layout.run):
        raise RunError(f"{layout.run} has a * in its name, which Prometheus cannot read: choose another folder.")
    jobs = {"node": "node_exporter", "blackbox": "blackbox_exporter", "prometheus": "prometheus"}
    render(
        layout.run / "observability",
        web_target=f"127.0.0.1:{ports.metrics}",
        worker_target=f"127.0.0.1:{ports.worker}",
        alertmanager_target=f"127.0.0.1:{ports.alertmanager}",
        webhook_url=layout.url(ports.web, "/alert"),
        token_file=token_path,
        other_targets={job: f"127.0.0.1:{getattr(ports, name)}" for job, name in jobs.items() if name in commands},
        probes={"web": layout.url(ports.web, "/ready"), "gateway": layout.url(ports.gateway, "/health")},
        telegram=read_telegram(),
    )


def read_telegram() -> Telegram | None:
    """Return the Telegram settings for people's alerts, if they are set."""
    token, chat = env.text("AM_TELEGRAM_BOT_TOKEN", ""), env.text("AM_TELEGRAM_CHAT_ID", "")
    if not token or not chat:
        return None
    if not chat.removeprefix("-").isdigit():
        raise env.SettingError("AM_TELEGRAM_CHAT_ID is wrong: use the chat's number, such as -1001234567890.")
    return Telegram(chat_id=int(chat), bot_token=token, api_url=env.url("TELEGRAM_API_URL", "https://api.telegram.org"))


def missing(layout: Layout, programs: list[Program]) -> str | None:
    """Return one line about the missing programs, with the remedy."""
    running = {program.name for program in programs}
    names = sorted(name for name in PACKAGES if name not in running)
    taken = [name for name in names if name in EXPORTERS and not is_free(getattr(layout.ports, name))]
    absent = [name for name in names if name not in taken]
    parts = [f"Without {name}: its port {getattr(layout.ports, name)} is taken." for name in taken]
    if absent:
        listed = " and ".join([", ".join(absent[:-1]), absent[-1]] if len(absent) > 1 else absent)
        packages = " ".join(PACKAGES[name] for name in absent)
        parts.append(f"Without {listed}: not installed (on Debian and Ubuntu: sudo apt install {packages}).")
    return " ".join(parts) or None


class LoadedCheck:
    """Reports once, some time after the start, what Prometheus and Alertmanager have not loaded."""

    # Prometheus hands on new targets every five seconds.
    PATIENCE_SECONDS = 20.0

    def __init__(self, layout: Layout, names: Collection[str]) -> None:
        self._layout = layout
        self._questions: dict[str, Callable[[str], list[str]]] = {
            name: ask
            for name, ask in (("prometheus", missing_in_prometheus), ("alertmanager", missing_in_alertmanager))
            if name in names
        }
        self._due = time.monotonic() + self.PATIENCE_SECONDS

    def news(self) -> list[str]:
        """A sentence for each program, when the time has come; otherwise nothing."""
        if time.monotonic() < self._due:
            return []
        questions, self._questions = self._questions, {}
        found = {name: ask(self._layout.url(getattr(self._layout.ports, name))) for name, ask in questions.items()}
        return [
            f"{name} runs without {' and '.join(missing)}: alerts may not fire or not arrive."
            f" The reason may be in {self._layout.logs / f'{name}.log'}."
            for name, missing in found.items()
            if missing
        ]


def monitoring_addresses(layout: Layout, programs: list[Program]) -> dict[str, str]:
    """Return the addresses that the worker polls: only those of started programs."""
    ports = {"alertmanager": layout.ports.alertmanager, "prometheus": layout.ports.prometheus}
    names = [program.name for program in programs if program.name in ports]
    return {f"{name.upper()}_URL": layout.url(ports[name]) for name in names}
