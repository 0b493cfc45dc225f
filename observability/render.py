"""Prometheus's and Alertmanager's configuration for one machine.

The files beside this one name the services as Compose does. `render` copies them and changes the addresses, so that
`make run` and the tests use the same rules and the same routes.
"""

import json
import re
import shutil
from pathlib import Path

HERE = Path(__file__).resolve().parent

MILLISECONDS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
# A range selector's `[5m]`, and the settings whose value is a duration.
DURATION = re.compile(r"(\[|\b(?:for|keep_firing_for|group_wait|group_interval|repeat_interval): )(\d+)(ms|[smhd])\b")


def render(
    out_dir: str | Path,
    *,
    web_target: str,
    worker_target: str,
    alertmanager_target: str,
    webhook_url: str,
    token_file: str | Path,
    interval_seconds: float = 5.0,
    speed: float = 1.0,
) -> None:
    """Write prometheus.yml, rules/, targets/ and alertmanager.yml into `out_dir`.

    The targets are `host:port`; `webhook_url` is the address of `POST /alert`, and `token_file` holds its
    bearer token. Prometheus scrapes and evaluates every `interval_seconds`.

    `speed` is for tests and drills: every duration in rules and routes is divided by it. Thresholds are rates
    and ratios, so they hold unchanged; a range of 5m at speed 30 is 10 s, which still needs two scrapes.
    """
    out = Path(out_dir)
    (out / "rules").mkdir(parents=True, exist_ok=True)
    (out / "targets").mkdir(exist_ok=True)
    prometheus = (HERE / "prometheus" / "prometheus.yml").read_text(encoding="utf-8")
    interval = f"{round(interval_seconds * 1000)}ms"
    timeout = f"{round(interval_seconds * 800)}ms"
    for name, value in (
        ("scrape_interval", interval),
        ("scrape_timeout", timeout),
        ("evaluation_interval", interval),
    ):
        prometheus = replace_value(prometheus, name, value)
    (out / "prometheus.yml").write_text(prometheus, encoding="utf-8")

    for rules in (HERE / "prometheus" / "rules").glob("*.yml"):
        (out / "rules" / rules.name).write_text(faster(rules.read_text(encoding="utf-8"), speed), "utf-8")
    for job, target in (
        ("web", web_target),
        ("worker", worker_target),
        ("alertmanager", alertmanager_target),
    ):
        (out / "targets" / f"{job}.yml").write_text(f"- targets: [{json.dumps(target)}]\n", encoding="utf-8")

    alertmanager = faster((HERE / "alertmanager" / "alertmanager.yml").read_text(encoding="utf-8"), speed)
    alertmanager = replace_value(alertmanager, "url", json.dumps(webhook_url))
    alertmanager = replace_value(alertmanager, "credentials_file", json.dumps(str(Path(token_file).resolve())))
    (out / "alertmanager.yml").write_text(alertmanager, encoding="utf-8")


def prometheus_command(
    config_dir: str | Path, data_dir: str | Path, address: str, *, speed: float = 1.0
) -> list[str] | None:
    """Starts Prometheus with a rendered folder, listening on `host:port`. None if it is not installed.

    `speed` is that of `render`: Prometheus repeats what fires once a minute, and that is where an alert arrives that
    fired before Alertmanager was found.
    """
    program = shutil.which("prometheus")
    if program is None:
        return None
    return [
        program,
        f"--config.file={Path(config_dir).resolve() / 'prometheus.yml'}",
        f"--storage.tsdb.path={Path(data_dir).resolve()}",
        "--storage.tsdb.retention.time=15d",
        f"--web.listen-address={address}",
        f"--rules.alert.resend-delay={round(60_000 / speed)}ms",
        "--log.level=warn",
    ]


def alertmanager_command(config_dir: str | Path, data_dir: str | Path, address: str) -> list[str] | None:
    """The same for Alertmanager, which Debian calls prometheus-alertmanager."""
    program = shutil.which("alertmanager") or shutil.which("prometheus-alertmanager")
    if program is None:
        return None
    return [
        program,
        f"--config.file={Path(config_dir).resolve() / 'alertmanager.yml'}",
        f"--storage.path={Path(data_dir).resolve()}",
        f"--web.listen-address={address}",
        "--cluster.listen-address=",  # alone: no peers to wait for, no port to open
        "--log.level=warn",
    ]


def replace_value(text: str, name: str, value: str) -> str:
    """`text` with its one setting called `name` changed."""
    changed, count = re.subn(rf"(?m)^(\s*(?:- )?{name}:) .*$", lambda found: f"{found[1]} {value}", text)
    if count != 1:
        raise ValueError(f"expected one {name}, found {count}")
    return changed


def faster(text: str, speed: float) -> str:
    """`text` with its durations divided by `speed`."""
    if speed == 1:
        return text

    def shorten(found: re.Match[str]) -> str:
        before, number, unit = found.groups()
        return f"{before}{max(1, round(int(number) * MILLISECONDS[unit] / speed))}ms"

    return DURATION.sub(shorten, text)
