"""Register this host with the epoch of its metrics files in the database, and find the exporters of all hosts.

A registration is a lease. Two hosts with one epoch (a cloned disk, a shared volume) would end each other's database
sessions and count the same rows twice, so the second one is refused while the first one is connected. `HOST_ID`
distinguishes hosts. After a restart under another id the epoch is free as soon as the old sessions have ended.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import psycopg
from django.conf import settings

from fintech.database.sql import execute, fetch_all
from fintech.telemetry import clock
from fintech.telemetry.metric_slots import Slot

# A host that has been silent for this long is not connected, even if the server still shows its sessions.
LEASE_SECONDS = 15

REGISTER = f"""
INSERT INTO fintech_metricsepoch AS known (epoch, role, holder, url, seen_at)
VALUES (%(epoch)s, %(role)s, %(holder)s, %(url)s, now())
ON CONFLICT (epoch) DO UPDATE
    SET role = excluded.role, holder = excluded.holder, url = excluded.url, seen_at = excluded.seen_at,
        retired_at = NULL
    WHERE known.holder = excluded.holder OR known.seen_at < now() - interval '{LEASE_SECONDS} seconds'
        OR NOT EXISTS (
            SELECT FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = current_database()
                AND starts_with(application_name, 'writer ' || excluded.epoch || ' '))
RETURNING extract(epoch FROM clock_timestamp())::float8
"""  # noqa: S608 - our own constant

# Named by the writer (payments/storage/group_commit.py): `writer <epoch> <slot>`.
LIVE = """
SELECT split_part(application_name, ' ', 2), array_agg(pid) FROM pg_stat_activity
WHERE datname = current_database() AND application_name ~ '^writer [0-9a-f-]{36} ' GROUP BY 1
"""

_refused: set[UUID] = set()


class EpochHeldElsewhere(psycopg.OperationalError):
    """Another host counts in metrics files with this epoch."""


@dataclass(frozen=True)
class Exporter:
    """The address at which the counters of an epoch can be read."""

    epoch: UUID
    url: str


def register(execute: Callable[[str, dict[str, Any]], Any], slot: Slot) -> None:
    """Take or extend the lease of this host's epoch, through `execute` of a cursor. Raise EpochHeldElsewhere.

    The answer also has the database's time, so comparing the clocks needs no statement of its own.
    """
    role = slot.name.rpartition("-")[0]
    urls = {"web": settings.WEB_METRICS_URL, "worker": settings.WORKER_METRICS_URL}
    values = {"epoch": slot.epoch, "role": role, "holder": settings.HOST_ID, "url": urls.get(role, "")}
    sent = time.time()
    answer = execute(REGISTER, values).fetchone()
    if answer is None:
        _refused.add(slot.epoch)
        raise EpochHeldElsewhere(
            f"another host holds the metrics files' epoch {slot.epoch}: give each host a RUNTIME_DIR of its own, and"
            " remove the copy of a cloned host"
        )
    _refused.discard(slot.epoch)
    clock.compare(sent, answer[0], time.time())


def is_refused() -> bool:
    """Return True if another host holds this process's epoch, so that it stores no payment."""
    return bool(_refused)


def live_epochs() -> set[UUID]:
    """Return the epochs that a connected process counts in."""
    return set(live_sessions())


def live_sessions() -> dict[UUID, frozenset[int]]:
    """Return the epochs that connected processes count in, with the sessions of these processes."""
    return {UUID(epoch): frozenset(sessions) for epoch, sessions in fetch_all(LIVE)}


def exporters(role: str | None = None) -> list[Exporter]:
    """Return the exporters of all epochs that are not retired, or those of one role."""
    rows = fetch_all(
        "SELECT epoch, url FROM fintech_metricsepoch"
        " WHERE retired_at IS NULL AND url <> '' AND coalesce(role = %s, true) ORDER BY epoch",
        [role],
    )
    return [Exporter(*row) for row in rows]


def vanished() -> list[Exporter]:
    """Return the epochs without a connected process that were registered last more than RETIRE_SECONDS ago."""
    rows = fetch_all(
        "SELECT epoch, url FROM fintech_metricsepoch"
        " WHERE retired_at IS NULL AND seen_at < now() - make_interval(secs => %s)",
        [settings.RETIRE_SECONDS],
    )
    live = live_epochs() if rows else set()
    return [exporter for row in rows if (exporter := Exporter(*row)).epoch not in live]


def retire(epoch: UUID) -> None:
    """Note that the host has gone, unless it has registered itself meanwhile."""
    execute(
        "UPDATE fintech_metricsepoch SET retired_at = now()"
        " WHERE epoch = %s AND seen_at < now() - make_interval(secs => %s)",
        [epoch, settings.RETIRE_SECONDS],
    )
