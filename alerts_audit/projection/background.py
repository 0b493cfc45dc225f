"""Projecting at once in the web's processes, after a delivery is committed and answered.

It is cheap for the payments beside it. A process has one thread for this, which sleeps until a delivery comes; of all
processes one works at a time, and the others give up after two questions to the database. It uses a connection of its
own, none of the pool's. It needs some 30 microseconds of Python an alert, and a log line for each transition; while
PostgreSQL does its part of about the same length, it holds nothing. What fails here is left to the worker, which looks
every second.
"""

import logging
import os
import threading

from django.db import connection

from alerts_audit.projection.projector import is_anything_pending, project_pending
from fintech.http.problems import DATABASE_AWAY

logger = logging.getLogger("alerts_audit.projection")

# Somebody else may have looked before this delivery was committed, and be done a moment later.
PAUSE_SECONDS = 0.05


class Prompter:
    """Its thread starts with the first use, and again in a process that was forked since."""

    def __init__(self) -> None:
        self._wanted = threading.Event()
        self._starting = threading.Lock()
        self._pid: int | None = None

    def prompt(self) -> None:
        """Returns at once."""
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
        """Whatever goes wrong is the worker's to do again."""
        try:
            if not project_pending() and is_anything_pending():
                self._wanted.wait(PAUSE_SECONDS)
                project_pending()
        except DATABASE_AWAY as error:
            logger.warning("projection_postponed", extra={"error": str(error)[:200]})
        except Exception:
            logger.exception("projection_postponed")
        finally:
            connection.close()


prompt = Prompter().prompt
