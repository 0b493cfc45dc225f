"""`manage.py close_gap`: close a gap by hand, with a note."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from alerts_audit.gaps import NotOpen, close_by_hand


class Command(BaseCommand):
    help = "Close an open gap of the alert trail by hand. It stays in the trail, with who closed it, when and why."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("gap", type=int, help="its number, as the admin and the API show it")
        parser.add_argument("--by", required=True, help="your name")
        parser.add_argument("--note", required=True, help="what you found out about it")

    def handle(self, *args: Any, gap: int, by: str, note: str, **options: Any) -> None:
        try:
            row = close_by_hand(gap_id=gap, by=by, note=note)
        except (NotOpen, ValueError) as error:
            raise CommandError(str(error)) from None
        self.stdout.write(f"Gap {gap} ({row.reason}) is closed.")
