"""The result of a request to charge, capture, void, refund or review."""

from dataclasses import dataclass
from functools import partial

from payments.models import Capture, Refund, Review, Transaction, Void
from payments.services.pending import Pending

# A payment as the services return it: its row, or the same facts before they were read back.
PaymentData = Pending | Transaction


@dataclass(slots=True)
class Result:
    """An operation after a request for it; `is_replay` if an earlier request with its key had started it."""

    operation: PaymentData | Capture | Void | Refund | Review
    is_replay: bool = False
    gateway_seconds: float = 0.0


# The rest of an operation whose first step is stored.
CarryOut = partial[Result]
