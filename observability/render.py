"""Render the configuration of Prometheus and Alertmanager for one machine.

The files beside this one use the host names of Compose. `render` copies them and changes the addresses, so that
`make run` and the tests use the same rules and the same routes.
"""

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent

MILLISECONDS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
# A range selector such as `[5m]` or `[1h:1m]`, an `offset 1d`, and the settings whose value is a duration.
DURATION = re.compile(
    r"(\[|(?<=[smhd]):|\boffset |\b(?:for|keep_firing_for|interval|group_wait|group_interval|repeat_interval): )"
    r"(\d+)(ms|[smhd])\b"
)
# `> 300 # seconds`: in PromQL an age is a plain number, so the rules mark it with a comment. It may be a metric, too.
AGE = re.compile(r"\b(?:(\d+)|(\w+_seconds))( # seconds)$", re.MULTILINE)


@dataclass(frozen=True)
class Telegram:
    """A Telegram chat for people's alerts, with `bot_token` or `bot_token_file` (Alertmanager 0.26 or later)."""

    chat_id: int
    bot_token: str = ""
    bot_token_file: str = ""
    api_url: str = "https://api.telegram.org"

    def __post_init__(self) -> None:
        if bool(self.bot_token) == bool(self.bot_token_file):
            raise ValueError("Telegram needs either bot_token or bot_token_file")


def render(
    out_dir: str | Path,
    *,
    web_target: str,
    worker_target: str,
    alertmanager_target: str,
    webhook_url: str,
    token_file: str | Path,
    other_targets: Mapping[str, str] | None = None,
    probes: Mapping[str, str] | None = None,
    telegram: Telegram | None = None,
    interval_seconds: float = 5.0,
    speed: float = 1.0,
) -> None:
    """Write prometheus.yml, rules/, targets/, alertmanager.yml, telegram.tmpl and blackbox.yml into `out_dir`.

    Targets are `host:port`. `webhook_url` is the address of `POST /alert`, and `token_file` contains its bearer token.
    `other_targets` has the targets of further jobs, such as `{"node": "127.0.0.1:9100"}`. `probes` maps the services of
    targets/probe.yml to URLs, which are probed if `other_targets` has the job `blackbox`.
    `speed` is for tests and drills: it divides every duration and every age in rules and routes. Thresholds are rates
    and ratios, so they do not change. A range of 5m at speed 30 is 10 s, and must contain at least two scrapes.
    """
    out = Path(out_dir)
    write_prometheus(out, interval_seconds=interval_seconds, speed=speed)
    shutil.copy(HERE / "blackbox" / "blackbox.yml", out / "blackbox.yml")
    targets = {"web": web_target, "worker": worker_target, "alertmanager": alertmanager_target, **(other_targets or {})}
    write_targets(out / "targets", targets, probes or {})
    token = Path(token_file).resolve()
    write_alertmanager(out, webhook_url=webhook_url, token_file=token, telegram=telegram, speed=speed)


def write_prometheus(out: Path, *, interval_seconds: float, speed: float) -> None:
    """Write prometheus.yml and the rules."""
    (out / "rules").mkdir(parents=True, exist_ok=True)
    text = (HERE / "prometheus" / "prometheus.yml").read_text(encoding="utf-8")
    interval = f"{round(interval_seconds * 1000)}ms"
    timeout = f"{round(interval_seconds * 800)}ms"
    for name, value in (("scrape_interval", interval), ("scrape_timeout", timeout), ("evaluation_interval", interval)):
        text = replace_value(text, name, value)
    text = replace_value(text, "rule_files", f"[{quote(glob_in(out, 'rules/*.yml'))}]")
    text = re.sub(r"(?<=files: \[)targets/[^\]]+", lambda found: quote(glob_in(out, found[0])), text)
    (out / "prometheus.yml").write_text(text, encoding="utf-8")
    for rules in (HERE / "prometheus" / "rules").glob("*.yml"):
        (out / "rules" / rules.name).write_text(faster(rules.read_text(encoding="utf-8"), speed), "utf-8")


def quote(value: str) -> str:
    """Return a string of YAML. JSON escapes a character beyond 16 bits as two codes, which YAML does not combine."""
    return json.dumps(value, ensure_ascii=False)


def glob_in(folder: Path, pattern: str) -> str:
    """Return the glob of what `pattern` names in `folder`.

    The programs put the folder of their configuration before a relative pattern, and read the folder's name as a part
    of the glob. If its name has special characters, the whole path is written out and escaped.
    """
    path = str(folder.resolve())
    escaped = re.sub(r"[\\*?\[]", r"\\\g<0>", path)
    if escaped == path:
        return pattern
    if "*" in path:  # Prometheus refuses it in a folder's name, escaped or not
        raise ValueError(f"{path} has a * in its name: Prometheus cannot read its rules there, rename the folder")
    return f"{escaped}/{pattern}"


def write_targets(folder: Path, targets: Mapping[str, str], probes: Mapping[str, str]) -> None:
    """Write one file for each job that has one in Compose. A job without a target gets an empty list."""
    folder.mkdir(exist_ok=True)
    jobs = {path.stem for path in (HERE / "prometheus" / "targets").glob("*.yml")}
    if unknown := targets.keys() - jobs:
        raise ValueError(f"prometheus.yml has no job {', '.join(sorted(unknown))}")
    groups: dict[str, list[dict[str, object]]] = {job: [] for job in jobs}
    for job, target in targets.items():
        groups[job] = [{"targets": [target]}]
    if blackbox := targets.get("blackbox"):
        for service, url in probes.items():
            labels = {"service": service, "tier": "service", "__param_module": "http_200", "__blackbox": blackbox}
            groups["probe"].append({"targets": [url], "labels": labels})
    for job, group in groups.items():
        (folder / f"{job}.yml").write_text(json.dumps(group) + "\n", encoding="utf-8")  # JSON is YAML


def write_alertmanager(
    out: Path, *, webhook_url: str, token_file: Path, telegram: Telegram | None, speed: float = 1.0
) -> None:
    """Write alertmanager.yml and its template. The file may contain the bot's token, so only its owner can read it."""
    text = faster((HERE / "alertmanager" / "alertmanager.yml").read_text(encoding="utf-8"), speed)
    text = replace_value(text, "url", quote(webhook_url))
    text = replace_value(text, "credentials_file", quote(str(token_file)))
    text = replace_value(text, "templates", f"[{quote(glob_in(out, 'telegram.tmpl'))}]")
    shutil.copy(HERE / "alertmanager" / "telegram.tmpl", out / "telegram.tmpl")
    draft = out / ".alertmanager.yml.new"
    draft.unlink(missing_ok=True)
    draft.touch(mode=0o600)
    draft.write_text(with_telegram(text, telegram), encoding="utf-8")
    draft.replace(out / "alertmanager.yml")


def with_telegram(alertmanager: str, telegram: Telegram | None) -> str:
    """Return Alertmanager's configuration with the receivers for people, if a bot is configured."""
    if telegram is None:
        return alertmanager
    template = (HERE / "alertmanager" / "telegram.yml").read_text(encoding="utf-8")
    template = replace_value(template, "api_url", quote(telegram.api_url))
    template = replace_value(template, "chat_id", str(int(telegram.chat_id)))
    template = replace_value(template, "bot_token", quote(telegram.bot_token or telegram.bot_token_file))
    if telegram.bot_token_file:
        template = template.replace("bot_token:", "bot_token_file:")
    for receiver, silent in (("page", "false"), ("ticket", "true")):
        settings = replace_value(template, "disable_notifications", silent)
        indented = "".join(f"    {line}\n" for line in settings.splitlines() if not line.startswith("#"))
        start = f"  - name: {receiver}\n"
        if alertmanager.count(start) != 1:
            raise ValueError(f"expected one receiver {receiver}")
        alertmanager = alertmanager.replace(start, start + indented)
    return alertmanager


def prometheus_command(
    config_dir: str | Path, data_dir: str | Path, address: str, *, speed: float = 1.0
) -> list[str] | None:
    """Return the command of Prometheus with a rendered folder, listening on `host:port`. None: not installed.

    `speed` as for `render`: Prometheus resends firing alerts once a minute, which delivers alerts that fired before
    Alertmanager was discovered.
    """
    program = shutil.which("prometheus")
    if program is None:
        return None
    return [
        program,
        f"--config.file={Path(config_dir).resolve() / 'prometheus.yml'}",
        f"--storage.tsdb.path={Path(data_dir).resolve()}",
        "--storage.tsdb.retention.time=31d",  # one day longer than the window of the objectives
        f"--web.listen-address={address}",
        f"--rules.alert.resend-delay={round(60_000 / speed)}ms",
        "--log.level=warn",
    ]


def alertmanager_command(config_dir: str | Path, data_dir: str | Path, address: str) -> list[str] | None:
    """Return the command of Alertmanager, which Debian calls prometheus-alertmanager. None: not installed."""
    program = shutil.which("alertmanager") or shutil.which("prometheus-alertmanager")
    if program is None:
        return None
    return [
        program,
        f"--config.file={Path(config_dir).resolve() / 'alertmanager.yml'}",
        f"--storage.path={Path(data_dir).resolve()}",
        f"--web.listen-address={address}",
        "--cluster.listen-address=",  # a single instance: no peers, no port
        "--log.level=warn",
    ]


def replace_value(text: str, name: str, value: str) -> str:
    """Return `text` with its single setting `name` changed."""
    changed, count = re.subn(rf"(?m)^(\s*(?:- )?{name}:) .*$", lambda found: f"{found[1]} {value}", text)
    if count != 1:
        raise ValueError(f"expected one {name}, found {count}")
    return changed


def faster(text: str, speed: float) -> str:
    """Return `text` with its durations and ages divided by `speed`."""
    if speed == 1:
        return text

    def shorten(found: re.Match[str]) -> str:
        before, number, unit = found.groups()
        return f"{before}{max(1, round(int(number) * MILLISECONDS[unit] / speed))}ms"

    def younger(found: re.Match[str]) -> str:
        number, metric, mark = found.groups()
        return f"{metric} / {speed:g}{mark}" if metric else f"{int(number) / speed:g}{mark}"

    return AGE.sub(younger, DURATION.sub(shorten, text))
