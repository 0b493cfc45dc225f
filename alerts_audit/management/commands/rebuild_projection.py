"""`manage.py rebuild_projection`: replay all inputs, and make the projection equal to them."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from alerts_audit.projection import diff_rebuild, rebuild
from alerts_audit.projection.rebuild import ProjectionMismatch
from fintech.texts import count_of


class Command(BaseCommand):
    help = "Replay all inputs in their order, and set envelopes, identities, episodes and transitions to the result."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="list the differences, and change nothing")

    def handle(self, *args: Any, **options: Any) -> None:
        found = self.compare() if options["dry_run"] else self.mend()
        differences = count_of(found, "difference")
        if not found:
            self.stdout.write("The projection equals its inputs.")
        elif options["dry_run"]:
            raise CommandError(f"Found {differences}. Without --dry-run, the command repairs them.")
        else:
            self.stdout.write(f"Repaired {differences}.")

    def compare(self) -> int:
        found = 0
        for line in diff_rebuild(self.show):
            found += 1
            self.stdout.write(line)
        return found

    def mend(self) -> int:
        try:
            mended = rebuild(self.show)
        except ProjectionMismatch as error:
            raise CommandError(f"Nothing was changed, because {error}. Run verify_audit.") from None
        for line in mended:
            self.stdout.write(line)
        if mended.total > len(mended):
            self.stdout.write(f"and {mended.total - len(mended)} more")
        return mended.total

    def show(self, done: int, total: int) -> None:
        """Show the progress; on a terminal, replace the previous line."""
        if self.stderr.isatty():
            self.stderr.write(f"\r{done:,} of {total:,} inputs", ending="\n" if done >= total else "")
