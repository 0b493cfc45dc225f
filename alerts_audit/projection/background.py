"""Project in the web processes as soon as a delivery is committed and answered.

This is cheap for payments in the same process. A process has one thread for it, which sleeps until a delivery arrives.
One process works at a time; the others give up after two queries. It uses a separate connection, outside the pool. It
takes about 30 microseconds of Python per alert and a log line per transition, and holds nothing while PostgreSQL works
for about the same time. The worker, which checks every second, takes over after a failure.
"""

import logging
import os
import threading

from django.db import connection

from alerts_audit.projection.projector import is_anything_pending, project_pending
from fintech.http.problems import DATABASE_ERRORS

logger = logging.getLogger("alerts_audit.projection")

# Another process may have checked before this delivery was committed, and finish a moment later.
PAUSE_SECONDS = 0.05


class Prompter:
    """Schedules the projection. Its thread starts with the first use, and again after a fork."""

    def __init__(self) -> None:
        self._wanted = threading.Event()
        self._starting = threading.Lock()
        self._pid: int | None = None

    def prompt(self) -> None:
        """Schedule a projection and return at once."""
        self._wanted.set()
        if self._pid == os.getpid():
            return
        with self._starting:
            if self._pid != os.getpid():
                self._pid = os.getpid()
                threading.Thread(target=self._run, name="projector", daemon=True).start()

    def _run(self) -> None:
        while True:
            self._wanted.wait()
            self._wanted.clear()
            self.project()

    def project(self) -> None:
        """Project pending inputs. The worker repeats whatever fails."""
        try:
            if not project_pending() and is_anything_pending():
                self._wanted.wait(PAUSE_SECONDS)
                project_pending()
        except DATABASE_ERRORS as error:
            logger.warning("projection_postponed", extra={"error": str(error)[:200]})
        except Exception:
            logger.exception("projection_postponed")
        finally:
            connection.close()


prompt = Prompter().prompt
