"""`manage.py audit_ledger`: check every row against the rows that it must agree with."""

import json
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from fintech.errors import DATABASE_ERRORS
from fintech.management.command_line import row_id
from fintech.texts import count_of
from payments.ledger.consistency import Finding, check_ledger


class Command(BaseCommand):
    help = "Check the books: postings, journal, refunds, idempotency keys, KPIs. Exits with 1 if there are findings."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="print one JSON object")
        parser.add_argument("--merchant", type=row_id, action="append", help="only this merchant's id; may be repeated")

    def handle(self, *args: Any, merchant: list[int] | None, **options: Any) -> None:
        findings: list[Finding] = []
        checks = []
        try:
            for name, found in check_ledger(merchant):
                checks.append(name)
                findings += found
                if not options["json"]:
                    self.stdout.write(f"{name}: {len(found) or 'nothing'} found")
                    for finding in found:
                        self.stdout.write(f"  {finding.resource}: {finding.detail}")
        except DATABASE_ERRORS as error:
            raise CommandError(f"The database does not answer: {error}", returncode=2) from None
        if options["json"]:
            document = {"checks": checks, "findings": [asdict(finding) for finding in findings]}
            self.stdout.write(json.dumps(document, indent=2))
        if findings:
            raise CommandError(f"The ledger has {count_of(len(findings), 'finding')}.")
