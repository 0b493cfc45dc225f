"""`python -m fintech.compose.migrate`: update the schema, then create the first accounts. Safe to repeat.

It is `manage.py migrate` and `manage.py bootstrap`, with JSON log lines, and a copy of the API key for the load.
"""

import io
import logging
import os
import sys
from pathlib import Path

import django
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import DatabaseError

from fintech.secret_files import read_secret, write_secret

ACCOUNTS, LOADGEN = Path("/run/accounts"), Path("/run/loadgen")

logger = logging.getLogger("fintech.compose")


class LogLines(io.TextIOBase):
    """A text stream that logs each full line."""

    def __init__(self) -> None:
        self._begun = ""

    def write(self, text: str) -> int:
        *lines, self._begun = (self._begun + text).split("\n")
        for line in filter(None, map(str.strip, lines)):
            logger.info(line)
        return len(text)


def prepare(accounts: Path, loadgen: Path) -> None:
    call_command("migrate", skip_checks=False, interactive=False, no_color=True, stdout=LogLines())
    call_command("bootstrap", out=accounts, no_color=True, stdout=LogLines())
    write_secret(loadgen / "api_key", read_secret(accounts / "api_key") or "")


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "fintech.settings")
    try:
        django.setup()
        prepare(ACCOUNTS, LOADGEN)
    except (CommandError, OSError, ImproperlyConfigured, DatabaseError) as error:
        sys.exit(f"error: the database cannot be prepared: {str(error).strip()}")


if __name__ == "__main__":
    main()
