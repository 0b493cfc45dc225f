"""`manage.py close_gap`: close a gap by hand, with a note."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from alerts_audit.gaps import NotOpen, close_by_hand
from alerts_audit.reviews.services import ReviewError, required_text

ADVICE = "Name the person who closes it, and the reason."


class Command(BaseCommand):
    help = "Close an open gap of the alert trail by hand. The gap stays in the trail, with name, time and note."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("gap", type=int, help="the number of the gap in the admin and the API")
        parser.add_argument("--by", required=True, help="your name")
        parser.add_argument("--note", required=True, help="your findings")

    def handle(self, *args: Any, gap: int, by: str, note: str, **options: Any) -> None:
        try:
            row = close_by_hand(gap_id=gap, by=required_text(by, ADVICE), note=required_text(note, ADVICE))
        except (NotOpen, ReviewError) as error:
            raise CommandError(str(error)) from None
        self.stdout.write(f"Gap {gap} ({row.reason}) is closed.")
