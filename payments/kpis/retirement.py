"""Retire hosts that are gone, so that their rows are exported."""

import logging
from uuid import UUID

from django.conf import settings

from fintech.database.sql import execute
from fintech.telemetry.host_registry import Exporter, retire, vanished
from payments.kpis.scrape import read_exporters

logger = logging.getLogger("payments.kpis")

# Epochs of a time before registrations, or of a release that does not make them.
ADOPT_UNREGISTERED = """
INSERT INTO fintech_metricsepoch (epoch, role, holder, url, seen_at)
SELECT epoch, '', '', '', max(started_at) FROM payments_writer
WHERE NOT EXISTS (SELECT FROM fintech_metricsepoch AS known WHERE known.epoch = payments_writer.epoch)
GROUP BY epoch ON CONFLICT DO NOTHING
"""


class Retirement:
    """Retires each epoch whose host is silent and whose exporter no longer has its counters.

    While an exporter answers, its counters are in Prometheus, and the rows must not be exported beside them. A busy
    exporter may miss a scrape, so `RETIRE_SCRAPES` scrapes in a row must fail; another leader counts them again.
    """

    def __init__(self) -> None:
        self._failures: dict[UUID, int] = {}

    def advance(self) -> None:
        execute(ADOPT_UNREGISTERED)
        found = {exporter.epoch: self._failures_of(exporter) for exporter in vanished()}
        self._failures = {epoch: failures for epoch, failures in found.items() if failures is not None}

    def _failures_of(self, exporter: Exporter) -> int | None:
        """Scrape it, and return how many scrapes in a row have failed; None if it answers or is retired."""
        counters, failed = read_exporters([exporter.url] if exporter.url else [])
        if exporter.epoch in counters.by_epoch:
            return None
        failures = self._failures.get(exporter.epoch, 0) + 1
        if failed and failures < settings.RETIRE_SCRAPES:
            return failures
        retire(exporter.epoch)
        logger.info("host_retired", extra={"epoch": str(exporter.epoch), "error": "; ".join(failed)})
        return None
