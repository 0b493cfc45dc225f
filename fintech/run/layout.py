"""The layout of a run: files, secrets, and the environment of all processes."""

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fintech.run import RunError
from fintech.run.environment import is_accepted
from fintech.run.ports import Ports
from fintech.run.postgres import MAX_SOCKET_PATH
from fintech.secret_files import ensure_secret, random_secret, webhook_secret

BASE_DIR = Path(__file__).resolve().parent.parent.parent

DATABASE = "fintech"  # the database's name

# The environment variable that marks a process as ours; its value is the folder of the run.
MARK = "FINTECH_RUN_DIR"
FOR_EVENTS = "GATEWAY_WEBHOOK_SECRET"  # signs the events of the gateway
# Setting -> file under secrets/. Created once; a setting in the caller's environment is not changed.
SECRETS = {
    "DJANGO_SECRET_KEY": "django_secret_key",
    "GATEWAY_TOKEN": "gateway_token",
    "GATEWAY_CONTROL_TOKEN": "gateway_control_token",
    FOR_EVENTS: "gateway_webhook_secret",
    "ALERT_TOKEN": "alert_token",
}
# The same for the fake of Stripe, once SECOND_GATEWAY was used.
FAKE_SECRETS = {"STRIPE_API_KEY": "stripe_api_key", "STRIPE_WEBHOOK_SECRET": "stripe_webhook_secret"}


@dataclass(frozen=True)
class Layout:
    var: Path
    ports: Ports

    @property
    def run(self) -> Path:
        """Return the folder of generated configuration and the lock; nothing in it must be kept."""
        return self.var / "run"

    @property
    def logs(self) -> Path:
        return self.var / "log"

    @property
    def secrets(self) -> Path:
        return self.var / "secrets"

    @property
    def postgres(self) -> Path:
        return self.var / "postgres"

    @property
    def runtime(self) -> Path:
        return self.var / "runtime"

    @property
    def audit(self) -> Path:
        return self.var / "audit"

    @property
    def supervisor_socket(self) -> Path:
        """Return the socket's path: in `run`, or a short one derived from it if that is too long."""
        path = self.run / "supervisor.sock"
        # supervisord first binds a longer name: the path, a dot and its PID.
        if len(os.fsencode(path)) + len(".1234567890") <= MAX_SOCKET_PATH:
            return path
        digest = hashlib.sha256(os.fsencode(self.run)).hexdigest()[:16]
        return Path(f"/tmp/fintech-run-{digest}.sock")  # noqa: S108 (supervisord makes it mode 0600)

    @property
    def api_key(self) -> Path:
        return self.secrets / "api_key"

    @property
    def has_fake_of_stripe(self) -> bool:
        """Return True once SECOND_GATEWAY was used: the payments that the fake charged are still in the database."""
        return (self.secrets / FAKE_SECRETS["STRIPE_API_KEY"]).exists()

    def url(self, port: int, path: str = "") -> str:
        return f"http://127.0.0.1:{port}{path}"

    def make_directories(self) -> None:
        for directory in (self.var, self.run, self.logs, self.runtime):
            directory.mkdir(parents=True, exist_ok=True)
        self.secrets.mkdir(mode=0o700, exist_ok=True)


def make_environment(layout: Layout, database: Mapping[str, str], environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of all processes: accepted variables of the caller, then our settings as defaults."""
    ports = layout.ports
    ours = {
        **database,
        "HTTPS": "False",
        "METRICS_TOKEN": "open",
        "RUNTIME_DIR": str(layout.runtime),
        "AUDIT_DIR": str(layout.audit),
        "BIND": f"127.0.0.1:{ports.web}",
        "WEB_CONCURRENCY": "2",
        "METRICS_BIND": f"127.0.0.1:{ports.metrics}",
        "WORKER_METRICS_BIND": f"127.0.0.1:{ports.worker}",
        "WEB_METRICS_URL": layout.url(ports.metrics, "/metrics"),
        "WORKER_METRICS_URL": layout.url(ports.worker, "/metrics"),
        "WEBHOOKS_TO_LOOPBACK": "True",  # the demo merchant's receiver is on this machine
        "GATEWAY_URL": layout.url(ports.gateway),
        "GATEWAY_EVENTS_URL": f"{layout.url(ports.web)}/gateway/events",
        "PYTHONUNBUFFERED": "1",
        "PYTHONUTF8": "1",  # log lines are UTF-8, whatever the locale
        MARK: str(layout.var),
    }
    result = {name: value for name, value in environ.items() if is_accepted(name)}
    for name, value in ours.items():
        if f"{name}_FILE" not in environ:
            result.setdefault(name, value)
    # The caller cannot change the ports of this run: BIND alone would leave the worker without metrics.
    fixed = (MARK, "BIND", "METRICS_BIND", "WORKER_METRICS_BIND", "WEB_METRICS_URL", "WORKER_METRICS_URL")
    result |= {name: ours[name] for name in fixed}
    for name, file in SECRETS.items():
        if name not in environ and f"{name}_FILE" not in environ:
            ensure_secret(layout.secrets / file, webhook_secret if name == FOR_EVENTS else random_secret)
            result[f"{name}_FILE"] = str(layout.secrets / file)
    return result | fake_of_stripe(layout, environ)


def fake_of_stripe(layout: Layout, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the settings of the second gateway: of a fake, which charges the payments in SECOND_GATEWAY."""
    currency = environ.get("SECOND_GATEWAY", "")
    if currency and not re.fullmatch("[A-Z]{3}", currency):
        raise RunError(f"SECOND_GATEWAY={currency} is wrong: name the currency that it charges, such as USD.")
    given = sorted(name for name in environ if name.removesuffix("_FILE") in (*FAKE_SECRETS, "STRIPE_URL"))
    if currency and given:
        raise RunError(f"SECOND_GATEWAY starts a fake of Stripe, but {given[0]} is set: use only one of both.")
    if given or not (currency or layout.has_fake_of_stripe):
        return {}
    settings = {
        "STRIPE_URL": layout.url(layout.ports.stripe),
        "STRIPE_EVENTS_URL": f"{layout.url(layout.ports.web)}/gateway/events/stripe",
    }
    if currency:
        settings["GATEWAY_ROUTES"] = environ.get("GATEWAY_ROUTES") or f"{currency}=stripe"
    for name, file in FAKE_SECRETS.items():
        ensure_secret(layout.secrets / file, webhook_secret if name == "STRIPE_WEBHOOK_SECRET" else random_secret)
        settings[f"{name}_FILE"] = str(layout.secrets / file)
    return settings
