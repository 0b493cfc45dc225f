"""`manage.py audit_key`: who signs the log."""

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from alerts_audit.models import Checkpoint
from alerts_audit.seal import keys
from alerts_audit.seal.rotation import Trust, replace_lost, rotate
from alerts_audit.seal.standalone import Invalid
from fintech.errors import DATABASE_ERRORS
from fintech.management.command_line import one_sentence


class Command(BaseCommand):
    help = "Show the public keys of the log, or change the signing key. See docs/audit.md."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("action", choices=["show", "rotate"])
        parser.add_argument(
            "--lost", action="store_true", help="the old key is lost: add a new one, which no earlier key has signed"
        )

    def handle(self, *args: Any, action: str, lost: bool, **options: Any) -> None:
        with one_sentence(keys.SealError, Invalid, OSError, *DATABASE_ERRORS):
            if action == "rotate":
                key = replace_lost() if lost else rotate()
                self.stdout.write(f"From now on {key.public.id.hex()} signs. Keep a copy of {keys.signing_key_file()}.")
            self._show()

    def _show(self) -> None:
        roots = keys.public_keys()
        trust = Trust(roots)
        last = Checkpoint.objects.order_by("-id").first()
        trust.replay(before=last.pk + 1 if last else 0)
        self.stdout.write(f"The trust root, {keys.public_keys_file()}:")
        self.stdout.write("\n".join(f"  {key}" for key in roots))
        self.stdout.write("The key that signs now:")
        self.stdout.write(f"  {trust.active[-1]}")
