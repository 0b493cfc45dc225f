"""Keep the counters of a process right: after a crash or a lost connection they are set from the rows.

A web process does so before the first request, and then in a thread, whether or not another payment comes. It also
registers the host's metrics again, so that the leading worker compares them.
"""

import logging
import threading
import time

from django.db import connection

from fintech.errors import DATABASE_ERRORS
from fintech.telemetry import host_registry
from fintech.telemetry.metric_slots import slot
from payments.storage.group_commit import writer

logger = logging.getLogger("fintech")

INTERVAL_SECONDS = 5


def start() -> None:
    _try_to_recover()
    threading.Thread(target=_keep_recovering, name="writer", daemon=True).start()


def recover() -> None:
    """Set the counters if that is necessary, and register them. Raise the database's errors."""
    writer.restore_counters()
    try:
        with connection.cursor() as cursor:
            host_registry.register(lambda *statement: cursor.execute(*statement) or cursor, slot())
    finally:
        connection.close()


def _try_to_recover() -> None:
    try:
        recover()
    except Exception as error:  # retried soon; `/ready` reports the problem
        trace = None if isinstance(error, DATABASE_ERRORS) else error
        logger.warning("counter_recovery_failed", exc_info=trace, extra={"error": type(error).__name__})


def _keep_recovering() -> None:
    while True:
        time.sleep(INTERVAL_SECONDS)
        _try_to_recover()
