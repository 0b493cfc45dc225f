"""The gateway's totals minus the ledger's."""

from collections import Counter, defaultdict

from django.conf import settings

from fintech.database.sql import fetch_all
from payments.gateway.base import Gateway
from payments.kpis.drift import nearest_to_zero
from payments.ledger.in_flight import IN_FLIGHT
from payments.ledger.running_sums import OtherGateways, Sums
from payments.states import CAPTURE, CHARGE, DISPUTE, LIFECYCLES, REFUND

# Kind of event -> its sign in what the gateway owes us, and the name of the gateway's total.
MOVED = {
    CHARGE.success: (1, "charged"),
    CAPTURE.success: (1, "captured"),
    REFUND.success: (-1, "refunded"),
    DISPUTE.event_kind("opened"): (-1, "disputed"),
    DISPUTE.event_kind("won"): (1, "dispute_returned"),
}
NOTHING: Sums = Counter()


def measure_gateway_drift(gateway: Gateway, others: OtherGateways | None = None) -> dict[str, int] | None:
    """Return, by currency in minor units, the gateway's total minus the ledger's. Raise GatewayError.

    `others` has the sums of other gateways, if there are any. Returns None until they are summed.

    Kinds have separate bounds: a refund between two readings must not hide or imitate a charge. Payments in progress,
    and those that wait for their customer, may be on either side, so they widen the bounds like the two readings of the
    ledger.
    """
    # In this order no payment can be missed between two readings: it is posted, or in progress, or counted twice.
    # Other gateways' money is read after `before` and before `after`: what moves there meanwhile widens the bounds.
    before, elsewhere_before = _booked(), others.measure() if others else NOTHING
    totals = gateway.totals()
    if totals is None:
        return {}
    in_flight = _in_flight()
    elsewhere_after, after = others.measure() if others else NOTHING, _booked()
    if elsewhere_before is None or elsewhere_after is None:
        return None
    before.subtract(elsewhere_before)
    after.subtract(elsewhere_after)
    currencies = {currency for _, currency in [*before, *after]} | totals.keys()
    drift: dict[str, int] = defaultdict(int)
    for kind, (sign, theirs) in MOVED.items():
        for currency in currencies:
            moved = totals.get(currency, {}).get(theirs, 0)
            low = moved - after[kind, currency] - in_flight[kind, currency]
            drift[currency] += sign * nearest_to_zero(low, moved - before[kind, currency])
    return dict(drift)


def _booked() -> Sums:
    """Return the charges, captures, refunds and disputes in the ledger."""
    rows = fetch_all(
        "SELECT kind, currency, abs(sum(amount))::bigint FROM payments_kpi_totals"
        " WHERE kind = ANY(%s) GROUP BY kind, currency",
        [list(MOVED)],
    )
    return Counter({(kind, currency): amount for kind, currency, amount in rows})


def _in_flight() -> Sums:
    """Return the charges, captures and refunds that are not final here, and may be final at `GATEWAY_NAME`."""
    rows = fetch_all(
        f"SELECT operation, currency, sum(amount)::bigint FROM ({IN_FLIGHT}) AS work"  # noqa: S608 - SQL of our own
        " WHERE moves_money AND gateway = %s GROUP BY 1, 2",
        [settings.GATEWAY_NAME],
    )
    return Counter({(LIFECYCLES[operation].success, currency): amount for operation, currency, amount in rows})
