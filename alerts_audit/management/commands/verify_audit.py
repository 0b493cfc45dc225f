"""`manage.py verify_audit`: verify the evidence against its seal."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from alerts_audit.seal.keys import SealError
from alerts_audit.seal.standalone import Invalid
from alerts_audit.seal.verify import Report, verify
from fintech.errors import DATABASE_ERRORS
from fintech.management.command_line import Ticker, moment
from fintech.texts import count_of


class Command(BaseCommand):
    help = (
        "Verify the alert trail: bytes, hashes, leaves, roots, signatures, the checkpoints outside the database."
        " Exits with 1 on findings, with 2 if it could not run. docs/audit.md explains what it proves."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="print one JSON object")
        parser.add_argument("--since", type=moment, help="only what was sealed since then (RFC 3339, or a day in UTC)")
        parser.add_argument("--checkpoints", type=Path, help="a copy of the checkpoint file that you kept")
        parser.add_argument(
            "--archive", type=Path, action="append", default=[], help="an archive's file, to verify it too; repeatable"
        )
        parser.add_argument("--key", type=Path, help="the public keys that you trust (AUDIT_DIR/public_keys)")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["since"] is not None and options["since"] > datetime.now(UTC):
            raise CommandError("Nothing was verified: --since is in the future.", returncode=2)
        try:
            report = verify(
                since=options["since"],
                checkpoint_file=options["checkpoints"],
                key_file=options["key"],
                archives=options["archive"],
                progress=Ticker(),
            )
        except (Invalid, SealError, OSError, *DATABASE_ERRORS) as error:
            raise CommandError(f"Nothing was verified: {error}", returncode=2) from None
        except Exception as error:  # 1 would mean findings
            raise CommandError(
                f"The trail could not be verified: {type(error).__name__}: {error}", returncode=2
            ) from error
        self.stdout.write(as_json(report) if options["json"] else as_text(report))
        if not report.ok:
            findings = count_of(report.found.total(), "finding")
            raise CommandError(f"The trail differs from what was sealed: {findings}. The first: {report.findings[0]}.")


def as_json(report: Report) -> str:
    document = {
        "ok": report.ok,
        "tree_size": report.tree_size,
        "seconds": round(report.seconds, 3),
        "covered": report.covered(),
        "findings": report.documents(),
    }
    return json.dumps(document, indent=2)


def as_text(report: Report) -> str:
    lines = [f"Covered in {report.seconds:.1f} s, of a log of {report.tree_size:,} leaves ({report.window}):"]
    lines += [f"  {name}: {count:,}" for name, count in sorted(report.counts.items())]
    lines += [f"Mind: {remark}" for remark in report.remarks]
    lines += [f"WRONG {found['subject']}: {found['detail']}" for found in report.documents()]
    if report.ok:
        lines.append("Nothing is wrong.")
    return "\n".join(lines)
