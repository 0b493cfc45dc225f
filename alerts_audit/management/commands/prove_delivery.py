"""`manage.py prove_delivery ID`: write a proof that others can check."""

import json
import sys
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from alerts_audit.seal import standalone
from alerts_audit.seal.canonical import KINDS
from alerts_audit.seal.keys import public_keys_file
from alerts_audit.seal.proofs import NoProof, prove, prove_from_archive
from fintech.management.command_line import one_sentence


class Command(BaseCommand):
    help = (
        "Write a proof that a delivery, or another row of evidence, is in the sealed log. It is checked without Django"
        " and without the database."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("id", type=int, help="the row's number")
        parser.add_argument("--kind", choices=KINDS, default="delivery", help="the row's kind (default: delivery)")
        parser.add_argument("--out", type=Path, help="the file to write (default: standard output)")
        parser.add_argument("--size", type=int, help="use the checkpoint of this size, such as one that you kept")
        parser.add_argument("--archive", type=Path, help="the file that has the row, if it was archived")

    def handle(self, *args: Any, id: int, kind: str, out: Path | None, size: int | None, **options: Any) -> None:
        with one_sentence(NoProof, standalone.Invalid, OSError):
            if options["archive"] is not None:
                found = prove_from_archive(options["archive"], kind, id, size=size)
            else:
                found = prove(kind, id, size=size)
            proof = json.dumps(found, indent=2, ensure_ascii=False)
            if out is None:
                self.stdout.write(proof)
            else:
                out.write_text(f"{proof}\n", encoding="utf-8")
        sys.stderr.write(
            "Check it anywhere; this one file needs only Python and `cryptography`:\n"
            f"  python {standalone.__file__} {out or 'proof.json'} --key {public_keys_file()}"
            " [--checkpoint a checkpoint that was kept] [--body the delivery's body, or the archive's file]\n"
        )
