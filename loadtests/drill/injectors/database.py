"""Faults inside of the database: rows, grants and locks that the platform cannot expect."""

import os
from collections.abc import Callable

from fintech.testing.processes import request, wait_until
from loadtests.drill.lab import Drill

# The locks of alerts_audit and the worker, for pg_advisory_lock.
PROJECTOR, SEALER, VERIFIER = 0x616C65727473, 0x616C6572742D736C, 0x616C6572742D6175


def leak_connections(drill: Drill) -> None:
    """Open connections until 85 % are in use."""
    used = "SELECT count(*) FILTER (WHERE datname IS NOT NULL), current_setting('max_connections')::int"
    [(count, most)] = drill.own.query(f"{used} FROM pg_stat_activity")
    for _ in range(int(most * 0.87) - count):
        drill.hold("SELECT 1")


def release(drill: Drill) -> None:
    """End the sessions of the fault, and with them their locks."""
    drill.release()


def lock(number: int) -> Callable[[Drill], object]:
    """Hold an advisory lock, as a forgotten session does."""
    return lambda drill: drill.hold(f"SELECT pg_advisory_lock({number})")


def block_projection(drill: Drill) -> None:
    """Hold the projector's lock, and repeat the newest delivery, as an Alertmanager may."""
    lock(PROJECTOR)(drill)
    [(body,)] = drill.own.query("SELECT body FROM alerts_audit_delivery ORDER BY id DESC LIMIT 1")
    headers = {"Authorization": f"Bearer {os.environ['ALERT_TOKEN']}"}
    assert request(drill.own.platform.port, "POST", "/alert", bytes(body), headers=headers).status == 200


def execute(*statements: str) -> Callable[[Drill], object]:
    return lambda drill: drill.execute(*statements)


COUNT_CAPTURE = """
INSERT INTO payments_kpirollup AS total (writer_id, kind, currency, count, amount)
SELECT writer_id, 'capture_succeeded', currency, 1, 0 FROM payments_kpirollup WHERE kind = 'succeeded' LIMIT 1
ON CONFLICT (writer_id, kind, currency) DO UPDATE SET count = total.count + 1
"""


def count_one_too_many(drill: Drill) -> None:
    """Increment a total of the rows, as soon as the worker has stored the first totals, and add a capture of 0."""
    statement = "UPDATE payments_kpirollup SET count = count + 1 WHERE kind = 'succeeded' RETURNING 1"
    wait_until(lambda: drill.own.query(statement), 45, "there are totals", interval=0.5)
    drill.execute(COUNT_CAPTURE)


def post_half(drill: Drill) -> None:
    """Add a fee without its counterpart, as a superuser with disabled triggers. It is not revenue."""
    columns = "event_id, transaction_id, currency"
    leg = f"INSERT INTO payments_ledgerleg ({columns}, account, amount) SELECT {columns}, 'fees', 1"
    drill.execute("SET session_replication_role = replica", f"{leg} FROM payments_ledgerleg LIMIT 1")


REFUSE = """
CREATE FUNCTION drill_refuses() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'a drill refuses this row'; END $$
"""


def refuse_dollars(drill: Drill) -> None:
    """Add a trigger that refuses a quarter of the payments."""
    trigger = "CREATE TRIGGER drill_refuses BEFORE INSERT ON payments_transaction FOR EACH ROW"
    drill.execute(REFUSE, f"{trigger} WHEN (NEW.currency = 'USD') EXECUTE FUNCTION drill_refuses()")


def accept_dollars(drill: Drill) -> None:
    drill.execute("DROP TRIGGER drill_refuses ON payments_transaction", "DROP FUNCTION drill_refuses()")
