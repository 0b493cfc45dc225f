"""`python -m fintech.compose.secrets`: create every secret of docker-compose.yml, once.

Each consumer has its own volume with copies of only the secrets that it needs. All secrets are in `store`, which no
other service mounts. The program runs as root with only CAP_CHOWN: its files belong to root, and only the consumer's
group can read them. Safe to repeat: existing secrets stay, and a secret that was removed from the store is created
again everywhere.
"""

import logging
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fintech import env
from fintech.secret_files import ensure_secret, read_secret, webhook_secret, write_secret
from fintech.telemetry.logging import write_json_lines

logger = logging.getLogger("fintech.compose")

VOLUMES = Path("/volumes")
OURS = 10001  # user and group of our image
POSTGRES = 999  # the group of the postgres image
GRAFANA = 472
NOBODY = 65534  # user and group of Prometheus's images

# The fake of Stripe takes any key. For Stripe itself, put its key and its signing secret in their place.
STRIPE_KEY = "stripe_api_key"
RANDOM = (
    "postgres_password",
    "owner_password",
    "app_password",
    "monitor_password",
    "django_secret_key",
    "gateway_token",
    "gateway_control_token",
    STRIPE_KEY,
    "metrics_token",
    "alert_token",
    "grafana_admin_password",
)
# The gateways sign their events with these.
FOR_EVENTS = "gateway_webhook_secret"
FOR_STRIPE_EVENTS = "stripe_webhook_secret"
# Set by the person who starts it, or empty.
TELEGRAM = ("telegram_bot_token", "telegram_chat_id")
# Derived from the above: name -> role, its password, database.
DATABASE_URLS = {
    "database_admin_url": ("postgres", "postgres_password", "postgres"),
    "database_owner_url": ("owner", "owner_password", "fintech"),
    "database_url": ("app", "app_password", "fintech"),
    "database_monitor_url": ("monitor", "monitor_password", "fintech"),
}


@dataclass(frozen=True)
class Consumer:
    """A service that reads secrets: the name of its volume, its group, and its secrets."""

    name: str
    group: int
    secrets: tuple[str, ...]


@dataclass(frozen=True)
class Writer:
    """A volume that a service fills itself: it belongs to the service's user and starts empty."""

    name: str
    user: int


CONSUMERS = (
    Consumer("db", POSTGRES, ("postgres_password",)),
    Consumer("roles", OURS, ("database_admin_url", "database_owner_url", "database_url", "database_monitor_url")),
    Consumer("migrate", OURS, ("django_secret_key", "database_owner_url", "database_url")),
    Consumer(
        "app",
        OURS,
        (
            *("django_secret_key", "database_url", "gateway_token", FOR_EVENTS, STRIPE_KEY, FOR_STRIPE_EVENTS),
            *("metrics_token", "alert_token"),
        ),
    ),
    Consumer("worker", OURS, ("django_secret_key", "database_url", "gateway_token", STRIPE_KEY, *TELEGRAM)),
    Consumer("gateway", OURS, ("gateway_token", "gateway_control_token", FOR_EVENTS)),
    Consumer("stripe", OURS, (STRIPE_KEY, FOR_STRIPE_EVENTS, "gateway_control_token")),
    Consumer("configuration", OURS, ("telegram_chat_id",)),
    Consumer("alertmanager", NOBODY, ("alert_token", *TELEGRAM)),
    Consumer("grafana", GRAFANA, ("grafana_admin_password",)),
    Consumer("postgres-exporter", NOBODY, ("monitor_password",)),
)
# `migrate` writes the administrator's password and the API key to the first, and the load's copy to the second. The
# worker creates the signing key of the alert trail when the trail begins. `configuration` writes `etc`.
WRITERS = (Writer("accounts", OURS), Writer("loadgen", OURS), Writer("audit", OURS), Writer("etc", OURS))


def read_telegram() -> dict[str, str]:
    """Return the bot's token and the chat, both or neither."""
    token, chat = env.text("AM_TELEGRAM_BOT_TOKEN", ""), env.text("AM_TELEGRAM_CHAT_ID", "")
    if bool(token) != bool(chat):
        raise env.SettingError("AM_TELEGRAM_BOT_TOKEN and AM_TELEGRAM_CHAT_ID belong together: set both, or neither.")
    if chat and not re.fullmatch(r"-?[0-9]{1,19}", chat):
        raise env.SettingError("AM_TELEGRAM_CHAT_ID is wrong: use the chat's number, such as -1001234567890.")
    return dict(zip(TELEGRAM, (token, chat), strict=True))


def make_secrets(store: Path) -> dict[str, str]:
    store.chmod(0o700)
    for name in RANDOM:
        ensure_secret(store / name)
    for name in (FOR_EVENTS, FOR_STRIPE_EVENTS):
        ensure_secret(store / name, webhook_secret)
    values = {name: read_secret(store / name) or "" for name in (*RANDOM, FOR_EVENTS, FOR_STRIPE_EVENTS)}
    for name, (role, password, database) in DATABASE_URLS.items():
        values[name] = f"postgresql://{role}:{values[password]}@db:5432/{database}"
    return values | read_telegram()


def hand_out(values: dict[str, str], consumer: Consumer, volume: Path) -> None:
    """Write new and changed secrets, and remove those that the consumer no longer needs."""
    volume.chmod(0o750)
    os.chown(volume, -1, consumer.group)
    for path in volume.iterdir():
        if path.name not in consumer.secrets:
            path.unlink()
    for name in consumer.secrets:
        path = volume / name
        if not path.exists() or (read_secret(path) or "") != values[name]:
            write_secret(path, values[name])
        path.chmod(0o440)
        os.chown(path, -1, consumer.group)


def hand_over(volume: Path, user: int) -> None:
    if volume.stat().st_uid != user:
        volume.chmod(0o700)
        os.chown(volume, user, user)


def prepare(volumes: Path, consumers: Sequence[Consumer] = CONSUMERS, writers: Sequence[Writer] = WRITERS) -> None:
    values = make_secrets(volumes / "store")
    for consumer in consumers:
        hand_out(values, consumer, volumes / consumer.name)
    for writer in writers:
        hand_over(volumes / writer.name, writer.user)


def main() -> None:
    write_json_lines()
    try:
        prepare(VOLUMES)
    except env.SettingError as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        sys.exit(f"error: the secrets cannot be written: {error}.")
    logger.info("secrets_created", extra={"services": [consumer.name for consumer in CONSUMERS]})


if __name__ == "__main__":
    main()
