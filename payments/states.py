"""The states of an operation and the steps between them: one table for code, database and documents.

An operation moves money at the gateway. A charge (`Transaction`) and a refund (`Refund`) are operations; each has its
own lifecycle. The database refuses every other step (`migrations/0006_transitions.py`); a test compares both.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from django.db.models import TextChoices


class ChargeStatus(TextChoices):
    PROCESSING = "processing"
    SUCCEEDED = "succeeded"
    DECLINED = "declined", "Declined by the bank"
    BLOCKED = "blocked", "Blocked as fraud"
    FAILED = "failed", "Failed, not charged"
    UNKNOWN = "unknown", "Unknown, being resolved"


class RefundStatus(TextChoices):
    PROCESSING = "processing"
    SUCCEEDED = "succeeded"
    FAILED = "failed", "Failed, nothing refunded"
    UNKNOWN = "unknown", "Unknown, being resolved"


@dataclass(frozen=True)
class Lifecycle:
    """The states of one kind of operation.

    `initial` are the states that a row is created with, `steps` all others that may follow a state. `outcomes` maps
    the gateway's outcomes to states. Event kinds in the journal are the states, after `event_prefix`.
    """

    operation: str
    statuses: type[TextChoices]
    initial: tuple[str, ...]
    steps: Mapping[str, tuple[str, ...]]
    outcomes: Mapping[str, str]
    event_prefix: str = ""

    @cached_property
    def open(self) -> list[str]:
        """Return the states that other states follow: the work is not finished."""
        return [status for status in self.statuses.values if status in self.steps]

    @cached_property
    def final(self) -> list[str]:
        return [status for status in self.statuses.values if status not in self.steps]

    @cached_property
    def success(self) -> str:
        """Return the event kind of an operation that moved money."""
        return self.event_kind("succeeded")

    def event_kind(self, status: str) -> str:
        return self.event_prefix + status


# `error` and `unavailable` are failures that are known to have moved nothing.
_OUTCOMES = {
    "approved": "succeeded",
    "declined": "declined",
    "error": "failed",
    "unavailable": "failed",
    "cancelled": "failed",
    "timeout": "unknown",
}

CHARGE = Lifecycle(
    operation="charge",
    statuses=ChargeStatus,
    initial=("processing", "blocked"),
    steps={
        "processing": ("succeeded", "declined", "failed", "unknown"),
        "unknown": ("succeeded", "declined", "failed"),
    },
    outcomes=_OUTCOMES,
)
REFUND = Lifecycle(
    operation="refund",
    statuses=RefundStatus,
    initial=("processing",),
    steps={"processing": ("succeeded", "failed", "unknown"), "unknown": ("succeeded", "failed")},
    outcomes={**_OUTCOMES, "declined": "failed"},  # what the gateway refuses to give back has failed
    event_prefix="refund_",
)
LIFECYCLES = {lifecycle.operation: lifecycle for lifecycle in (CHARGE, REFUND)}


def sql_list(values: list[str]) -> str:
    """Return words of this module as the right side of SQL's IN."""
    return "(" + ", ".join(f"'{value}'" for value in values) + ")"
