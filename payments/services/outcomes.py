"""The result of a request to charge or refund."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from payments.models import Refund


class Charge(Protocol):
    """A payment as the services return it: a stored row, or the same facts before they were read back."""

    @property
    def id(self) -> UUID: ...
    @property
    def status(self) -> str: ...
    @property
    def is_final(self) -> bool: ...
    @property
    def amount(self) -> int: ...
    @property
    def amount_refunded(self) -> int: ...
    @property
    def currency(self) -> str: ...
    @property
    def fraud_score(self) -> float | None: ...
    @property
    def fraud_reasons(self) -> list[str]: ...
    @property
    def failure_code(self) -> str | None: ...
    @property
    def gateway_reference(self) -> str | None: ...
    @property
    def customer(self) -> str | None: ...
    @property
    def reference(self) -> str | None: ...
    @property
    def description(self) -> str | None: ...
    @property
    def metadata(self) -> Any: ...
    @property
    def created_at(self) -> datetime: ...
    @property
    def settled_at(self) -> datetime | None: ...


@dataclass(slots=True)
class Outcome:
    """An operation after a request for it; `is_replay` if an earlier request with its key had started it."""

    operation: Charge | Refund
    is_replay: bool = False
    gateway_seconds: float = 0.0
