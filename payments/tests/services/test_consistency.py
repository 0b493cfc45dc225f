"""The columns of a payment fit each other: the database accepts exactly the rows that the states allow."""

from itertools import product
from typing import Any, NamedTuple

from fintech.database.sql import fetch_all
from payments.models import APPROVED
from payments.states import AUTHORIZATION, CHARGE, ChargeStatus

AMOUNT, RATE = 100, 1_000  # a fee of 10 %
# Column -> its type, and the values to combine with those of all others.
VALUES: dict[str, tuple[str, list[Any]]] = {
    "status": ("varchar", [*ChargeStatus.values, "paid"]),
    "is_settled": ("boolean", [False, True]),
    "reserved": ("bigint", [-1, 0, 40, 41, 101]),
    "refunded": ("bigint", [-1, 0, 40, 41]),
    "fee": ("bigint", [-1, 0, 4, 10, 11]),
    "manual_capture": ("boolean", [False, True]),
    "captured": ("bigint", [-1, 0, 40, 100, 101]),
    "expires": ("boolean", [False, True]),
    "review": ("varchar", [None, "capture", "hold", "later"]),
}
# A check that is NULL accepts the row.
ACCEPTED = f"""
SELECT {", ".join(VALUES)}
FROM {", ".join(f"unnest(%({name})s::{kind}[]) AS {name}" for name, (kind, _) in VALUES.items())}
WHERE payments_is_consistent(status, CASE WHEN is_settled THEN now() END, {AMOUNT}, reserved, refunded, fee,
    {RATE}::smallint, manual_capture, captured, CASE WHEN expires THEN now() END, review) IS NOT false
"""


class Payment(NamedTuple):
    status: str
    is_settled: bool
    reserved: int
    refunded: int
    fee: int
    manual_capture: bool
    captured: int
    expires: bool
    review: str | None

    @property
    def sold(self) -> int:
        if self.manual_capture:
            return self.captured
        return AMOUNT if self.status == "succeeded" else 0

    def is_consistent(self) -> bool:
        lifecycle = AUTHORIZATION if self.manual_capture else CHARGE
        least = 1 if self.manual_capture and self.status == "succeeded" else 0
        most = AMOUNT if self.manual_capture and self.status in ("authorized", "succeeded") else 0
        return (
            self.status in lifecycle.states
            and self.is_settled == (self.status in lifecycle.final)
            and self.review in ((None, "capture", "hold") if self.manual_capture else (None,))
            and (self.review is not None or self.status != "in_review")
            and least <= self.captured <= most
            and self.expires == (self.manual_capture and self.status in APPROVED)
            and 0 <= self.refunded <= self.reserved <= self.sold
            and self.fee == (self.sold * RATE + 5_000) // 10_000
        )


def test_the_database_accepts_exactly_the_payments_whose_columns_fit_each_other():
    payments = map(Payment._make, product(*(values for _, values in VALUES.values())))

    accepted = fetch_all(ACCEPTED, {name: values for name, (_, values) in VALUES.items()})

    assert set(accepted) == {payment for payment in payments if payment.is_consistent()}
