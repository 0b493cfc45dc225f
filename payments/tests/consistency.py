"""The end of every test of money: the books are consistent and equal the gateway's record.

Called when nothing is unresolved any more; `settled` waits for that.
"""

from collections.abc import Iterable
from uuid import UUID

from prometheus_client import generate_latest

from fintech.telemetry import metric_slots as slots
from fintech.testing.processes import Platform, wait_until
from loadtests.tests.simulator import FakeStripe, Simulator
from payments.gateway.base import Gateway
from payments.gateway.http_gateway import HttpGateway
from payments.gateway.stripe.gateway import StripeGateway
from payments.kpis.drift import Drift, measure_drift
from payments.kpis.scrape import Counters, scrape
from payments.kpis.totals import totals_by_epoch
from payments.ledger.consistency import check_ledger
from payments.ledger.reconciliation import reconcile
from payments.models import Merchant, Transaction, Unresolved


def client_of(gateway: Simulator) -> Gateway:
    client = StripeGateway if isinstance(gateway, FakeStripe) else HttpGateway
    return client(gateway.url, gateway.token)


def check_books(gateway: Simulator, *merchants: Merchant) -> None:
    """All payments of these merchants, which used no gateway but this one; and none of theirs is unresolved."""
    ids = [merchant.pk for merchant in merchants]
    assert not left_open(ids), "checked too early: something is unresolved"
    findings = [finding for _, found in check_ledger(ids) for finding in found]
    findings += reconcile(client_of(gateway), merchants=ids).findings
    assert not findings, findings


def gateway_key(transaction: UUID | str) -> str:
    """Return the key by which the gateway knows this payment."""
    return str(Transaction.objects.get(id=transaction).gateway_key)


def settled(*merchants: Merchant, within: float = 15) -> None:
    """Wait until the resolver has left nothing of these merchants open."""
    ids = [merchant.pk for merchant in merchants]
    wait_until(lambda: not left_open(ids), timeout=within, what="nothing is unresolved")


def left_open(merchants: Iterable[int]) -> int:
    payments = Transaction.objects.filter(merchant_id__in=merchants)
    return Unresolved.objects.filter(transaction_id__in=payments.values("id")).count()


def counters_equal_rows(platform: Platform) -> bool:
    """Over all of the life of this platform's metrics files: nothing lost, nothing counted twice."""

    def read() -> Counters:
        counters = Counters()
        for port in (platform.metrics_port, platform.worker_port):
            counters.add(scrape(f"http://127.0.0.1:{port}/metrics"))
        return counters

    return _is_zero(measure_drift(read))


def own_counters_equal_rows() -> bool:
    """The same for this process, whose counters are in its memory."""
    epoch = slots.slot().epoch
    counters, drift = Counters(), Drift()
    counters.add(f'metrics_epoch_info{{epoch="{epoch}"}} 1\n' + generate_latest().decode())
    rows = totals_by_epoch([epoch])[epoch]
    drift.add(rows, counters.by_epoch[epoch], rows, slots=1)
    return _is_zero(drift)


def _is_zero(drift: Drift) -> bool:
    return not any((*drift.transactions.values(), *drift.revenue.values(), *drift.operations.values()))
