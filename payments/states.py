"""The states of an operation and the steps between them: one table for code, database and documents.

An operation moves or holds money at the gateway. A `Transaction` is a charge, or an authorization if it is captured
later; either may wait for its customer first. `Capture`, `Void` and `Refund` follow it. A `Dispute` is begun by the
cardholder's bank. Each has its own lifecycle. The database refuses every other step (`migrations/0006_transitions.py`,
`0009_authorizations.py`, `0015_disputes.py`, `0022_authentication.py`); a test compares both.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from django.db.models import TextChoices

# What a velocity rule does with a payment that exceeds it: hold it for a review, or block it.
ExceededOutcome = Literal["review", "block"]


class ChargeStatus(TextChoices):
    PROCESSING = "processing"
    SUCCEEDED = "succeeded"
    DECLINED = "declined", "Declined by the bank"
    BLOCKED = "blocked", "Blocked as fraud"
    FAILED = "failed", "Failed, not charged"
    UNKNOWN = "unknown", "Unknown, being resolved"
    AUTHORIZED = "authorized", "Authorized, not captured yet"
    VOIDED = "voided", "Voided, nothing captured"
    IN_REVIEW = "in_review", "In review, held"
    REQUIRES_ACTION = "requires_action", "Waits for the customer's authentication"


class RefundStatus(TextChoices):
    PROCESSING = "processing"
    SUCCEEDED = "succeeded"
    FAILED = "failed", "Failed, nothing refunded"
    UNKNOWN = "unknown", "Unknown, being resolved"


class CaptureStatus(TextChoices):
    PROCESSING = "processing"
    SUCCEEDED = "succeeded"
    FAILED = "failed", "Failed, nothing captured"
    UNKNOWN = "unknown", "Unknown, being resolved"


class VoidStatus(TextChoices):
    PROCESSING = "processing"
    SUCCEEDED = "succeeded"
    FAILED = "failed", "Failed, nothing released"
    UNKNOWN = "unknown", "Unknown, being resolved"


class DisputeStatus(TextChoices):
    OPENED = "opened", "Opened, the money is held back"
    NEEDS_RESPONSE = "needs_response", "Needs a response"
    UNDER_REVIEW = "under_review", "Under review by the bank"
    PRE_ARBITRATION = "pre_arbitration", "Pre-arbitration, needs a second response"
    FINAL_REVIEW = "final_review", "Under final review"
    WON = "won", "Won, the money is returned"
    LOST = "lost", "Lost or accepted"


@dataclass(frozen=True)
class Lifecycle:
    """The states of one kind of operation.

    `initial` are the states that a row is created with, `steps` all others that may follow a state. `outcomes` maps
    the gateway's outcomes to states. Event kinds in the journal are the states, after `event_prefix`. In a `held` state
    no answer of the gateway is missing: the merchant, the bank or the customer takes the next step.
    """

    operation: str
    statuses: type[TextChoices]
    initial: tuple[str, ...]
    steps: Mapping[str, tuple[str, ...]]
    outcomes: Mapping[str, str]
    event_prefix: str = ""
    held: tuple[str, ...] = ()

    @cached_property
    def states(self) -> list[str]:
        """Return the states that an operation of this kind can have."""
        reached = {*self.initial, *(status for following in self.steps.values() for status in following)}
        return [status for status in self.statuses.values if status in reached]

    @cached_property
    def open(self) -> list[str]:
        """Return the states in which the gateway's answer is missing: the resolver finishes the work."""
        return [status for status in self.states if status in self.steps and status not in self.held]

    @cached_property
    def final(self) -> list[str]:
        return [status for status in self.states if status not in self.steps]

    @cached_property
    def success(self) -> str:
        """Return the event kind of an operation that moved money."""
        return self.event_kind("succeeded")

    def event_kind(self, status: str) -> str:
        return self.event_prefix + status

    def leads_to(self, status: str, later: str) -> bool:
        """Return True if one or more steps lead from `status` to `later`."""
        following = self.steps.get(status, ())
        return later in following or any(self.leads_to(step, later) for step in following)


# `error` and `unavailable` are failures that are known to have moved nothing.
_OUTCOMES = {
    "approved": "succeeded",
    "declined": "declined",
    "error": "failed",
    "unavailable": "failed",
    "cancelled": "failed",
    "timeout": "unknown",
}

# The gateway asks for 3-D Secure: the customer authenticates, refuses, or lets the time pass.
_CHALLENGE = {"requires_action": "requires_action"}

CHARGE = Lifecycle(
    operation="charge",
    statuses=ChargeStatus,
    initial=("processing", "blocked"),
    steps={
        "processing": ("succeeded", "declined", "failed", "unknown", "requires_action"),
        "unknown": ("succeeded", "declined", "failed"),
        "requires_action": ("succeeded", "declined", "failed"),
    },
    outcomes=_OUTCOMES | _CHALLENGE,
    held=("requires_action",),
)
# A payment with `"capture": false`, or one that an operator must review: its money is held until captures and a void
# have used or released it. One in review is accepted (captured, or authorized if that was asked for) or voided.
AUTHORIZATION = Lifecycle(
    operation="authorization",
    statuses=ChargeStatus,
    initial=("processing", "blocked"),
    steps={
        "processing": ("authorized", "in_review", "declined", "failed", "unknown", "requires_action"),
        "unknown": ("authorized", "in_review", "declined", "failed"),
        "requires_action": ("authorized", "in_review", "declined", "failed"),
        "in_review": ("authorized", "succeeded", "voided"),
        "authorized": ("succeeded", "voided"),
    },
    outcomes={**_OUTCOMES, **_CHALLENGE, "approved": "authorized"},  # `in_review` if the payment must be reviewed
    held=("requires_action", "in_review", "authorized"),
)


def _following(operation: str, statuses: type[TextChoices]) -> Lifecycle:
    """Return the lifecycle of an operation that follows a payment: one that the gateway refuses has failed."""
    return Lifecycle(
        operation,
        statuses,
        initial=("processing",),
        steps={"processing": ("succeeded", "failed", "unknown"), "unknown": ("succeeded", "failed")},
        outcomes={**_OUTCOMES, "declined": "failed"},
        event_prefix=f"{operation}_",
    )


CAPTURE = _following("capture", CaptureStatus)
VOID = _following("void", VoidStatus)
REFUND = _following("refund", RefundStatus)
# The bank may answer the first response once more (pre-arbitration), so a second review is the last. A merchant that
# accepts a dispute loses it.
DISPUTE = Lifecycle(
    operation="dispute",
    statuses=DisputeStatus,
    initial=("opened",),
    steps={
        "opened": ("needs_response", "lost"),
        "needs_response": ("under_review", "lost"),
        "under_review": ("won", "lost", "pre_arbitration"),
        "pre_arbitration": ("final_review", "lost"),
        "final_review": ("won", "lost"),
    },
    outcomes={},
    event_prefix="dispute_",
    held=("opened", "needs_response", "under_review", "pre_arbitration", "final_review"),
)
# The states that wait for the merchant, and the state after its response.
DISPUTE_RESPONSES = {"needs_response": "under_review", "pre_arbitration": "final_review"}
# The kinds of events whose amount is revenue.
SALES = (CHARGE.success, CAPTURE.success)
# The final states in which no money has moved and none is held.
UNMOVED = ("declined", "blocked", "failed")
# A payment whose money the bank holds.
HOLDING = ("in_review", "authorized")
# The states of an inquiry: a question of the cardholder's bank, which takes no money and may become a dispute. An event
# of the journal has one after `inquiry_`.
INQUIRIES = ("needs_response", "under_review", "closed")
INQUIRY_PREFIX = "inquiry_"
# Entries of the journal that are no step: a decision of an operator, the change to another gateway, or an inquiry.
NOTES = (
    "resolution_requested",
    "review_accepted",
    "review_refused",
    "rerouted",
    *(f"{INQUIRY_PREFIX}{state}" for state in INQUIRIES),
)
# The results of an authentication. An event of the journal has one after `authentication_`.
AUTHENTICATIONS = ("authenticated", "failed", "abandoned", "frictionless", "exempt")
FAILED_AUTHENTICATIONS = ("failed", "abandoned")
AUTHENTICATION_PREFIX = "authentication_"
LIFECYCLES = {lifecycle.operation: lifecycle for lifecycle in (CHARGE, AUTHORIZATION, CAPTURE, VOID, REFUND, DISPUTE)}


def sql_list(values: Sequence[str]) -> str:
    """Return words of this module as the right side of SQL's IN."""
    return "(" + ", ".join(f"'{value}'" for value in values) + ")"
