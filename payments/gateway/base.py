"""The protocol that every gateway implements, and its answers. `registry.py` finds a gateway by its name."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any, Protocol
from uuid import UUID

from msgspec import Meta

from fintech.errors import Unavailable


@dataclass
class Exchange:
    """One attempt, as the journal keeps it: never a token or card data."""

    operation: str
    outcome: str
    status_code: int | None
    answer: Any
    milliseconds: float


@dataclass(frozen=True)
class Challenge:
    """The page on which the customer authenticates (3-D Secure), until its time is over."""

    url: Annotated[str, Meta(pattern=r"^https?://[\x21-\x7e]+\Z", max_length=2048)]
    expires_at: Annotated[datetime, Meta(tz=True)]


@dataclass(frozen=True)
class AuthenticationResult:
    """The result of strong customer authentication, and the bearer of the loss if the payment is fraud."""

    outcome: str  # one of AUTHENTICATIONS in payments/states.py
    liability_shift: str  # issuer or merchant


@dataclass
class Answer:
    """The gateway's answer to an operation or its cancel; the outcome `timeout` if there was none.

    The outcomes are approved, declined, cancelled, error, unavailable and timeout: `payments/gateway/client.py`.
    """

    outcome: str
    code: str | None = None
    reference: str | None = None
    seconds: float = 0.0
    exchanges: list[Exchange] = field(default_factory=list)
    challenge: Challenge | None = None
    authentication: AuthenticationResult | None = None

    @property
    def failure_code(self) -> str | None:
        return None if self.outcome == "approved" else self.code

    @property
    def is_known(self) -> bool:
        return self.outcome != "timeout"


class GatewayError(Unavailable):
    """The gateway's records could not be read."""


class Gateway(Protocol):
    """A gateway. Every operation is idempotent by `key`. A cancel is final: it also prevents an operation still in
    flight, and ends a challenge.

    Without a `return_url`, the customer cannot be challenged: a bank that insists declines.
    `authorization` and `charge` are the keys of earlier operations. `reference` is the name that the gateway gave the
    payment in its answer, for gateways that do not find it by our key.
    """

    name: str

    def charge(
        self, key: UUID, *, amount: int, currency: str, payment_method: Any, return_url: str | None = None
    ) -> Answer: ...
    def authorize(
        self, key: UUID, *, amount: int, currency: str, payment_method: Any, return_url: str | None = None
    ) -> Answer: ...
    def find_charge(self, key: UUID, *, reference: str | None = None) -> Answer:
        """Return the present state of a charge whose customer is challenged."""
        ...

    def find_authorization(self, key: UUID, *, reference: str | None = None) -> Answer: ...
    def capture(
        self, key: UUID, *, authorization: UUID, reference: str | None = None, amount: int, currency: str, final: bool
    ) -> Answer: ...
    def void(self, key: UUID, *, authorization: UUID, reference: str | None = None) -> Answer: ...
    def refund(
        self, key: UUID, *, charge: UUID, reference: str | None = None, amount: int, currency: str
    ) -> Answer: ...
    def submit_evidence(
        self, key: UUID, *, dispute: UUID, reference: str | None = None, text: str, files: list[Any]
    ) -> Answer: ...
    def accept_dispute(self, key: UUID, *, dispute: UUID, reference: str | None = None) -> Answer: ...
    def cancel_charge(self, key: UUID, *, reference: str | None = None) -> Answer: ...
    def cancel_refund(
        self, key: UUID, *, charge: UUID, reference: str | None = None, amount: int, currency: str
    ) -> Answer: ...
    def cancel_authorization(self, key: UUID, *, reference: str | None = None) -> Answer: ...
    def cancel_capture(self, key: UUID, *, reference: str | None = None) -> Answer: ...
    def cancel_void(self, key: UUID, *, reference: str | None = None) -> Answer: ...

    def totals(self) -> dict[str, dict[str, int]] | None:
        """Return `charged`, `captured` and `refunded` by currency, in minor units, or None if it keeps no totals.

        Raises GatewayError.
        """
        ...

    def records(self, *, after: Any = 0, limit: int = 1000) -> dict[str, Any]:
        """Return one page of the money that the gateway moved, and `next`, which is `after` of the following page.

        Raises GatewayError.
        """
        ...
