"""Keeps the counters of a web process right: after a crash or a lost connection they are set from the rows.

It does so before the first request, and then in a thread, whether or not another payment comes.
"""

import logging
import threading
import time

from fintech.errors import DATABASE_ERRORS
from payments.settlement.group_commit import writer

logger = logging.getLogger("fintech")

WARM_UP_SECONDS = 5


def start() -> None:
    set_counters()
    threading.Thread(target=_keep_warm, name="writer", daemon=True).start()


def set_counters() -> None:
    try:
        writer.warm_up()
    except Exception as error:  # retried soon; `/ready` reports the problem
        trace = None if isinstance(error, DATABASE_ERRORS) else error
        logger.warning("warm_up_failed", exc_info=trace, extra={"error": type(error).__name__})


def _keep_warm() -> None:
    while True:
        time.sleep(WARM_UP_SECONDS)
        set_counters()
