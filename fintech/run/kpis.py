"""The live line of KPIs, from the metrics that Prometheus scrapes: rates are differences between two scrapes."""

import http.client
import time
import urllib.request
from collections import deque
from dataclasses import dataclass, field

from fintech.telemetry.scrapes import read_samples

WINDOW_SECONDS = 15  # rates and latencies
REVENUE_SECONDS = 60
DRIFTS = ("kpi_drift", "operation_drift", "gateway_drift", "ledger_imbalance")
# The beginnings of the names that the line needs. The epoch shows that there is an answer.
READ = (
    "metrics_epoch",
    "transactions_",
    "transaction_latency_seconds",
    "transaction_amount_sum",
    "unresolved_transactions",
    "webhook_attempts_total",
    *DRIFTS,
)
# Loopback is reached without the proxy that the environment may name.
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))

Labels = tuple[tuple[str, str], ...]
Samples = dict[str, dict[Labels, float]]


def read_metrics(url: str) -> Samples:
    """Return sample name -> labels -> value, for the names of the line. Empty without an answer."""
    try:
        with OPENER.open(url, timeout=2) as response:
            text = response.read().decode()
    except (OSError, http.client.HTTPException):
        return {}
    found: Samples = {}
    for sample in read_samples(text, READ):
        found.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
    return found


@dataclass
class Kpis:
    """The metrics of the last minute, and the line of KPIs."""

    web_url: str
    worker_url: str
    history: deque[tuple[float, Samples]] = field(default_factory=deque)
    worker: Samples = field(default_factory=dict)

    def refresh(self) -> None:
        web, self.worker = read_metrics(self.web_url), read_metrics(self.worker_url)
        if not web:
            return
        now = time.monotonic()
        if self.history and total(web, "transactions_total") < total(self.history[-1][1], "transactions_total"):
            self.history.clear()  # the counters were reset
        self.history.append((now, web))
        while self.history[0][0] < now - REVENUE_SECONDS:
            self.history.popleft()

    @property
    def succeeded(self) -> float:
        return total(self.history[-1][1], "transactions_total", status="succeeded") if self.history else 0

    @property
    def webhooks(self) -> float:
        """Return the number of webhooks that merchants have received from this worker."""
        return total(self.worker, "webhook_attempts_total", outcome="delivered")

    def line(self) -> str:
        if not self.history or time.monotonic() - self.history[-1][0] > 5:
            return "no metrics: the exporter does not answer"
        return " | ".join([*self._rates(), *self._state(), *self._revenue()])

    def _rates(self) -> list[str]:
        seconds, first, last = self._window(WINDOW_SECONDS)
        final = growth(first, last, "transactions_total")
        failed = growth(first, last, "transactions_total", status="failed")
        timed = growth(first, last, "transaction_latency_seconds_count")
        average = growth(first, last, "transaction_latency_seconds_sum") / timed if timed else 0
        p95 = quantile(0.95, first, last, "transaction_latency_seconds_bucket")
        return [
            f"{final / seconds:.1f} TPS",
            f"errors {100 * failed / final if final else 0:.1f} %",
            f"avg {1000 * average:.0f} ms, p95 {1000 * p95:.0f} ms",
        ]

    def _revenue(self) -> list[str]:
        seconds, first, last = self._window(REVENUE_SECONDS)
        amounts = []
        for labels in sorted(last.get("transaction_amount_sum", {})):
            currency = dict(labels).get("currency", "")
            if amount := growth(first, last, "transaction_amount_sum", currency=currency):
                amounts.append(f"{currency} {amount * 60 / seconds:,.0f}")
        return [f"revenue/min {' '.join(amounts) or 'none yet'}"]

    def _state(self) -> list[str]:
        web = self.history[-1][1]
        if not self.worker:
            return [f"in progress {total(web, 'transactions_in_progress'):.0f}", "the worker does not answer"]
        drift = sum(abs(value) for name in DRIFTS for value in self.worker.get(name, {}).values())
        return [
            f"in progress {total(web, 'transactions_in_progress'):.0f}",
            f"unresolved {total(self.worker, 'unresolved_transactions'):.0f}",
            f"drift {drift:g}",
        ]

    def _window(self, seconds: float) -> tuple[float, Samples, Samples]:
        """Return the length of the window, and the samples at both of its ends."""
        end, last = self.history[-1]
        start, first = next(entry for entry in self.history if entry[0] >= end - seconds)
        return max(end - start, 1e-9), first, last


def total(samples: Samples, name: str, **labels: str) -> float:
    """Return the sum over all samples of that name with these labels."""
    wanted = set(labels.items())
    return sum(value for found, value in samples.get(name, {}).items() if wanted <= set(found))


def growth(first: Samples, last: Samples, name: str, **labels: str) -> float:
    return total(last, name, **labels) - total(first, name, **labels)


def quantile(share: float, first: Samples, last: Samples, name: str) -> float:
    """Return the quantile as histogram_quantile does: linear within a bucket; at most the last finite edge."""
    edges = sorted({dict(labels)["le"] for labels in last.get(name, {})}, key=float)
    counts = [growth(first, last, name, le=edge) for edge in edges]
    if not counts or not counts[-1]:
        return 0
    rank = share * counts[-1]
    place = next(index for index, count in enumerate(counts) if count >= rank)
    lower, below = (float(edges[place - 1]), counts[place - 1]) if place else (0, 0)
    if edges[place] == "+Inf":
        return lower
    return lower + (float(edges[place]) - lower) * (rank - below) / (counts[place] - below)
