"""Work after the answer: log and count each delivery, and project it at once.

Each web process has one thread for this, which sleeps until a delivery is stored. A body is decoded once: for the log
line, and for the projection where this process gets to it. One process projects at a time; the others give up after
two questions to the database, and the worker, which looks every second, projects what they leave. The thread uses a
connection of its own and needs about 30 microseconds of Python an alert.
"""

import logging
import os
import threading
import time
from collections import deque
from contextvars import Context, copy_context

from django.db import connection

from alerts_audit.models import Delivery
from alerts_audit.payload import DecodedBody
from alerts_audit.projection.projector import is_anything_pending, project_pending
from alerts_audit.webhook.services import log_delivery
from fintech.errors import DATABASE_ERRORS
from fintech.server import cooperation

logger = logging.getLogger("alerts_audit.projection")

# The answer leaves first, and deliveries that arrive together share a transaction.
GATHER_SECONDS = 0.01
# Another process may have looked before this delivery was committed, and finish a moment later.
PAUSE_SECONDS = 0.05
# Bodies that wait for the thread. Beyond them the request does the work itself, so memory stays bounded.
MAX_WAITING = 64
# In which a process that stops writes the lines that are left. They take milliseconds, if the bodies are not huge.
LAST_LINES_SECONDS = 3.0


class BackgroundThread:
    """A thread that starts at the first use, and again in a process that was forked since."""

    def __init__(self) -> None:
        self._deliveries: deque[tuple[Context, Delivery]] = deque()
        self._wakeup = threading.Event()
        self._logging = threading.Lock()
        self._starting = threading.Lock()
        self._pid: int | None = None

    def schedule(self, delivery: Delivery) -> None:
        """Log and project a stored delivery soon. Return at once, and never raise."""
        try:
            if len(self._deliveries) < MAX_WAITING:
                self._deliveries.append((copy_context(), delivery))  # the line names its request and its trace
            else:
                log_delivery(delivery)
            self._wakeup.set()
            self._start()
        except Exception:  # the worker projects what is left
            logger.exception("projector_not_woken")

    def _start(self) -> None:
        if self._pid == os.getpid():
            return
        with self._starting:
            if self._pid != os.getpid():
                threading.Thread(target=self._run, name="projector", daemon=True).start()
                cooperation.at_end(self._finish)
                self._pid = os.getpid()

    def _run(self) -> None:
        while True:
            self._wakeup.wait()
            time.sleep(GATHER_SECONDS)
            self._wakeup.clear()
            self.work()

    def work(self) -> None:
        """Log all waiting deliveries, then project. Failures are left to the worker."""
        decoded = self._log()
        try:
            if not project_pending(decoded) and is_anything_pending():
                self._wakeup.wait(PAUSE_SECONDS)
                project_pending(decoded)
        except DATABASE_ERRORS as error:
            logger.warning("projection_postponed", extra={"error": str(error)[:200]})
        except Exception:
            logger.exception("projection_postponed")
        finally:
            connection.close()

    def _log(self) -> dict[int, DecodedBody]:
        """Log all waiting deliveries. Return those that could be decoded, by their ids."""
        decoded: dict[int, DecodedBody] = {}
        with self._logging:
            for _ in range(len(self._deliveries)):
                context, delivery = self._deliveries.popleft()
                if (content := context.run(log_delivery, delivery)) is not None:
                    decoded[delivery.pk] = content
        return decoded

    async def _finish(self) -> None:
        """Log what waits at the end of the process. The thread may be projecting, and ends with the process."""
        lines = threading.Thread(target=self._log, name="last lines", daemon=True)
        lines.start()
        lines.join(LAST_LINES_SECONDS)


schedule_projection = BackgroundThread().schedule
