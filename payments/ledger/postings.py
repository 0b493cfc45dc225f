"""The postings: which legs each event makes. One table for the SQL, the ledger check and docs/ledger.md."""

from dataclasses import dataclass

from payments.states import CAPTURE, CHARGE, DISPUTE, REFUND


@dataclass(frozen=True)
class Leg:
    """A leg of `amount` times the operation's amount plus `fee` times its fee; debits are positive."""

    account: str
    amount: int = 0
    fee: int = 0

    def value(self, *, amount: int, fee: int) -> int:
        return self.amount * amount + self.fee * fee

    def sql(self, amount: str, fee: str) -> str:
        """Return the leg's amount as SQL, from the SQL of the operation's amount and of its fee."""
        parts = [
            f"{'-' if sign < 0 else '+'} {term}" for sign, term in ((self.amount, amount), (self.fee, fee)) if sign
        ]
        return " ".join(parts).removeprefix("+ ") or "0"


_SALE = (Leg("gateway_clearing", amount=1), Leg("merchant_payable", amount=-1, fee=1), Leg("fees", fee=-1))
# The kind of the event -> its legs, whose factors sum to zero. An authorization posts nothing, its captures do.
POSTINGS = {
    CHARGE.success: _SALE,
    CAPTURE.success: _SALE,
    REFUND.success: (Leg("refunds", amount=1), Leg("gateway_clearing", amount=-1)),
    # The gateway takes the amount and its fee back until the dispute is decided. The fee stays with the merchant.
    DISPUTE.event_kind("opened"): (
        Leg("disputes_held", amount=1),
        Leg("merchant_payable", fee=1),
        Leg("gateway_clearing", amount=-1, fee=-1),
    ),
    DISPUTE.event_kind("won"): (Leg("gateway_clearing", amount=1), Leg("disputes_held", amount=-1)),
    DISPUTE.event_kind("lost"): (Leg("disputes_lost", amount=1), Leg("disputes_held", amount=-1)),
}
ACCOUNTS = ("gateway_clearing", "merchant_payable", "fees", "refunds", "disputes_held", "disputes_lost")


def legs_of(event_kind: str, *, amount: int, fee: int = 0) -> list[tuple[str, int]]:
    """Return (account, amount) of each leg; a leg of 0 is omitted."""
    values = ((leg.account, leg.value(amount=amount, fee=fee)) for leg in POSTINGS[event_kind])
    return [(account, value) for account, value in values if value]


def legs_sql(event_kind: str, *, amount: str, fee: str) -> str:
    """Return the rows of a VALUES list: (account, amount)."""
    return ", ".join(f"('{leg.account}', {leg.sql(amount, fee)})" for leg in POSTINGS[event_kind])


def balances_sql(*event_kinds: str, amount: str, fee: str) -> str:
    """Return what postings add to each of `ACCOUNTS`, in that order."""
    legs = [leg for kind in event_kinds for leg in POSTINGS[kind]]
    sums = [" + ".join(f"({leg.sql(amount, fee)})" for leg in legs if leg.account == account) for account in ACCOUNTS]
    return ", ".join(f"({total or 0})::numeric" for total in sums)


def fee_sql(amount: str, basis_points: str) -> str:
    """Return the fee in minor units, half a unit rounded up. The only place that rounds; a constraint repeats it."""
    return f"({amount} * {basis_points} + 5000) / 10000"
