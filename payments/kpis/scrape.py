"""Scrape the counters of the exporters of all hosts, and add them up by epoch."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import urllib3

from fintech.connection_pools import make_pool
from fintech.errors import Unavailable
from fintech.telemetry.scrapes import read_samples
from payments.currencies import to_minor
from payments.kpis.totals import OPERATION_COUNTERS, Totals

# The label of series that a worker exports for hosts that have gone.
RETIRED = "retired"
EPOCH, COUNT, AMOUNT = "metrics_epoch_info", "transactions_total", "transaction_amount_sum"
READ = (EPOCH, COUNT, AMOUNT, *(f"{name}_total" for name in OPERATION_COUNTERS))

http = make_pool(timeout=urllib3.Timeout(5), retries=False)


class ScrapeError(Unavailable):
    """The web's metrics could not be read."""


@dataclass
class Counters:
    """The counters of one or more scrapes, by epoch."""

    by_epoch: dict[UUID, Totals] = field(default_factory=dict)

    @property
    def totals(self) -> Totals:
        """Return the sums over all epochs."""
        total = Totals()
        for counted in self.by_epoch.values():
            for name in ("operations", "count", "amount"):
                for label, value in getattr(counted, name).items():
                    getattr(total, name)[label] += value
        return total

    def add(self, text: str) -> None:
        """Add a scrape, unless its epoch is there: a list of addresses may contain the reader's own."""
        samples = read_samples(text, READ)
        epochs = {UUID(sample.labels["epoch"]) for sample in samples if sample.name == EPOCH}
        if len(epochs) == 1 and not epochs & self.by_epoch.keys():
            self.by_epoch[epochs.pop()] = self._sum(samples)

    @staticmethod
    def _sum(samples: Iterable[Any]) -> Totals:
        totals = Totals()
        for sample in samples:
            if RETIRED in sample.labels:
                continue  # read from the rows
            if sample.name == COUNT:
                totals.count[sample.labels["status"]] += round(sample.value)
            elif (name := sample.name.removesuffix("_total")) in OPERATION_COUNTERS and name != sample.name:
                totals.operations[OPERATION_COUNTERS[name][0] + sample.labels["status"]] += round(sample.value)
            elif sample.name == AMOUNT:
                currency = sample.labels["currency"]
                totals.amount[currency] += to_minor(sample.value, currency)
        return totals


def read_exporters(urls: Iterable[str]) -> tuple[Counters, list[str]]:
    """Read the counters at these addresses, all at once. Return also the errors of those that do not answer."""
    counters, failed = Counters(), []
    urls = list(dict.fromkeys(urls))
    with ThreadPoolExecutor(min(16, len(urls) or 1), thread_name_prefix="scrape") as threads:
        for scraped in [threads.submit(scrape, url) for url in urls]:
            try:
                counters.add(scraped.result())
            except ScrapeError as error:
                failed.append(str(error))
    return counters, failed


def scrape(url: str) -> str:
    try:
        response = http.request("GET", url)
    except urllib3.exceptions.HTTPError as error:
        raise ScrapeError(f"{url} does not answer: {type(error).__name__}") from error
    if response.status != 200:
        raise ScrapeError(f"{url} answered {response.status}")
    return response.data.decode()
