"""`manage.py reconcile`: the gateway's record against the ledger, item by item."""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from fintech.errors import DATABASE_ERRORS
from fintech.management.command_line import moment, row_id
from fintech.texts import count_of
from payments.gateway.base import GatewayError
from payments.gateway.registry import gateways
from payments.ledger.reconciliation import Report, reconcile


class Command(BaseCommand):
    help = "Compare the money that the gateway moved with the ledger. Exits with 1 on any difference."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="print one JSON object")
        parser.add_argument("--since", type=moment, help="skip older operations (RFC 3339, or a day in UTC)")
        parser.add_argument("--gateway", choices=gateways.names, help="only this gateway; all by default")
        parser.add_argument("--merchant", type=row_id, action="append", help="only this merchant's id; may be repeated")

    def handle(
        self, *args: Any, since: datetime | None, gateway: str | None, merchant: list[int] | None, **options: Any
    ) -> None:
        try:
            reports = [
                reconcile(gateways.get(name), since=since, merchants=merchant, progress=self.progress)
                for name in ([gateway] if gateway else gateways.names)
            ]
        except GatewayError as error:
            raise CommandError(f"The gateway's record cannot be read: {error}.", returncode=2) from None
        except DATABASE_ERRORS as error:
            raise CommandError(f"The database does not answer: {error}", returncode=2) from None
        self.stdout.write(as_json(reports) if options["json"] else "\n".join(map(as_text, reports)))
        if differences := sum(len(report.findings) for report in reports):
            raise CommandError(f"The gateway and the ledger differ in {count_of(differences, 'item')}.")

    def progress(self, records: int) -> None:
        if sys.stderr.isatty():
            self.stderr.write(f"\r{records:,} records read", ending="")
            self.stderr.flush()


def as_json(reports: Sequence[Report]) -> str:
    """Return one object, or with several gateways a list of them with their names."""
    documents = [{**asdict(report), "since": report.since and report.since.isoformat()} for report in reports]
    if len(documents) == 1:
        del documents[0]["gateway"]
    return json.dumps(documents if len(documents) > 1 else documents[0], indent=2)


def as_text(report: Report) -> str:
    where = f" {report.gateway}" if len(gateways.names) > 1 else ""
    lines = [f"{report.at_gateway:,} items at the gateway{where}, {report.in_ledger:,} in the ledger"]
    lines += [f"{finding.check} {finding.resource}: {finding.detail}" for finding in report.findings]
    return "\n".join(lines)
