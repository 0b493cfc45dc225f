"""`manage.py archive_payments --before DATE --to FOLDER`: retention of payments."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError, CommandParser

from fintech.archive_files import file_sha256
from fintech.management.command_line import Ticker, moment, one_sentence, system_user
from payments.archive import files
from payments.archive.archive import ArchiveError, Result, archive
from payments.models import Archive


class Command(BaseCommand):
    help = (
        "Move events, legs and webhooks of payments that ended before a date into a file: write and read the file, then"
        " delete the rows. Needs DATABASE_OWNER_URL. After an interruption, run it again. docs/archive.md lists the"
        " rows that stay."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        task = parser.add_mutually_exclusive_group(required=True)
        task.add_argument("--before", type=moment, help="archive what ended before then (RFC 3339, or a day in UTC)")
        task.add_argument("--verify", type=Path, metavar="FILE", help="read a file, and compare it with its record")
        task.add_argument("--find", metavar="ID", help="print which file has a payment")
        parser.add_argument("--to", type=Path, metavar="FOLDER", help="the folder of archives, with --before")
        parser.add_argument("--file", type=Path, help="with --find: also print the payment from this file")
        parser.add_argument("--by", default=system_user(), help="the person who archives (default: the system's user)")
        parser.add_argument("--dry-run", action="store_true", help="report what would be archived")

    def handle(self, *args: Any, **options: Any) -> None:
        with one_sentence(ArchiveError, files.Invalid, OSError):
            if options["before"] is not None:
                self.archive(options["before"], options)
            elif options["verify"] is not None:
                self.verify(options["verify"])
            else:
                self.find(options["find"], options["file"])

    def archive(self, before: datetime, options: dict[str, Any]) -> None:
        if options["to"] is None:
            raise CommandError("Name the folder of archives: --to FOLDER.")
        completed, result = archive(
            before=before, directory=options["to"], by=options["by"], progress=Ticker(), dry_run=options["dry_run"]
        )
        for one in completed:
            self.stdout.write(f"Completed {one}, an interrupted run: {options['to'] / one.file_name}.")
        self.stdout.write(describe(result, options["to"]))

    def verify(self, path: Path) -> None:
        header, contents = files.check(path)
        known = archive_of(path)
        counts = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in contents.counts.items() if count)
        self.stdout.write(f"{path} is the file of {known}, of payments before {header.before:%Y-%m-%d}: {counts}.")
        self.stdout.write(
            f"The alert trail seals that record: verify_audit checks it, and prove_delivery {known.pk} --kind"
            " payments_archive proves it to others."
        )

    def find(self, text: str, path: Path | None) -> None:
        try:
            payment = UUID(text)
        except ValueError:
            raise CommandError(f"{text} is not the id of a payment.") from None
        found = list(Archive.objects.holding(payment))
        if not found:
            raise CommandError(f"No archive has payment {payment}.")
        for one in found:
            self.stdout.write(f"Payment {payment} is in {one.file_name} ({one}, SHA-256 {one.sha256}).")
        if path is not None:
            if archive_of(path) not in found:
                raise CommandError(f"{path} is none of these files.")
            unit = next(unit for _, unit in files.units(path) if unit["payment"]["id"] == str(payment))
            self.stdout.write(json.dumps(unit, indent=2))


def archive_of(path: Path) -> Archive:
    """Return the archive whose file this is: by its SHA-256 and its name. Raise CommandError."""
    digest = file_sha256(path)
    by_name = Archive.objects.filter(file_name=path.name).first()
    known = Archive.objects.filter(file_sha256=digest).first()
    if known is not None and known != by_name:
        instead = f", not of {by_name}" if by_name else ""
        raise CommandError(f"{path} was renamed: it is the file {known.file_name} of {known}{instead}.")
    if known is not None:
        return known
    if by_name is not None:
        raise CommandError(f"{path} was altered: its SHA-256 is {digest.hex()}, and {by_name} has {by_name.sha256}.")
    raise CommandError(f"{path} is complete, but it is not the file of an archive of this database.")


def describe(result: Result | None, directory: Path) -> str:
    if result is None:
        return "There is nothing to archive."
    stays = f"{result.stays:,} that began before then are not at rest, and stay."
    if result.archive is None:
        return f"Would archive {result.payments:,} payments; {stays}"
    changed = result.payments - result.dropped
    again = f" {changed:,} of them were changed meanwhile, and stay, too." if changed else ""
    return (
        f"Archived {result.dropped:,} payments in {directory / result.archive.file_name}; {stays}{again}"
        " Keep two copies of that file: it is the evidence now."
    )
