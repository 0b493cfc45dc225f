"""`manage.py archive_audit --before DATE`: retention."""

from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser

from alerts_audit.seal.archive.archive import ArchiveError, archive
from alerts_audit.seal.keys import SealError
from alerts_audit.seal.standalone import Invalid
from fintech.management.command_line import Ticker, moment, one_sentence, system_user


class Command(BaseCommand):
    help = (
        "Move the rows that were sealed before a date into a file: write and verify the file, then delete the rows."
        " Needs DATABASE_OWNER_URL. After an interruption, run it again. docs/audit.md lists the rows that stay."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        before = "archive what was sealed before then (RFC 3339, or a day in UTC)"
        parser.add_argument("--before", type=moment, required=True, help=before)
        parser.add_argument("--out", type=Path, help="the folder of archives (default: AUDIT_DIR/archives)")
        parser.add_argument("--by", default=system_user(), help="the person who archives (default: the system's user)")
        parser.add_argument("--dry-run", action="store_true", help="verify the range and report what would be archived")

    def handle(self, *args: Any, **options: Any) -> None:
        directory = options["out"] or Path(settings.AUDIT_DIR) / "archives"
        with one_sentence(ArchiveError, Invalid, SealError, OSError):
            done = archive(
                before=options["before"],
                directory=directory,
                by=options["by"],
                progress=Ticker(),
                dry_run=options["dry_run"],
            )
        if done is None:
            self.stdout.write("There is nothing to archive.")
        elif done.archive is None:
            self.stdout.write(f"Would archive leaves {done.first} to {done.end - 1}; {done.stays} of them would stay.")
        else:
            self.stdout.write(
                f"Archived leaves {done.first} to {done.end - 1} in {directory / done.archive.file_name};"
                f" {done.stays} of them stay. Keep that file: it is the evidence now."
            )
