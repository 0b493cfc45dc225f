"""The end of a challenge (3-D Secure): the gateway's event, or its answer when the worker asks, whichever is first.

The gateway decides once, so every answer about one challenge is the same, and the database takes the first. After the
challenge's time, the worker cancels instead of asking: a cancel is final, also while the customer still answers.
"""

import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from uuid import UUID

from django.conf import settings

from fintech.database.sql import fetch_all
from fintech.jobs import share_out
from fintech.telemetry import tracing
from payments.gateway.base import Answer, AuthenticationResult
from payments.gateway.registry import gateways
from payments.services.outcomes import settle_decision
from payments.states import AUTHORIZATION, CHARGE, Lifecycle

logger = logging.getLogger("payments.challenges")

BATCH_SIZE = 64
MAX_PAUSE_SECONDS = 60.0
EXPIRED = "authentication_expired"

# Several workers share the work: one that is killed leaves its challenges to a later turn. A pause ends at the latest
# with the challenge's time.
TAKE_DUE = """
WITH due AS (
    SELECT transaction_id, make_interval(secs => least(%(most)s, %(first)s * power(2, least(attempts, 20)))) AS pause
    FROM payments_authentication WHERE outcome IS NULL AND due_at <= now()
    ORDER BY due_at LIMIT %(size)s FOR UPDATE SKIP LOCKED
), taken AS (
    UPDATE payments_authentication AS challenge SET attempts = attempts + 1,
        due_at = CASE WHEN expires_at > now() THEN least(now() + pause, expires_at) ELSE now() + pause END
    FROM due
    WHERE challenge.transaction_id = due.transaction_id
    RETURNING challenge.transaction_id, challenge.expires_at <= now() AS is_over, challenge.attempts
)
SELECT taken.transaction_id, payment.manual_capture, payment.gateway, payment.gateway_key, payment.gateway_reference,
    taken.is_over, taken.attempts
FROM taken JOIN payments_transaction AS payment ON payment.id = taken.transaction_id
"""


@dataclass(frozen=True)
class Challenged:
    """A payment whose customer was asked, and has not answered as far as we know."""

    transaction_id: UUID
    manual_capture: bool
    gateway: str
    gateway_key: UUID
    reference: str | None  # the name that the gateway gave the payment with the challenge
    is_over: bool
    attempts: int

    @property
    def lifecycle(self) -> Lifecycle:
        return AUTHORIZATION if self.manual_capture else CHARGE


def poll_due(threads: ThreadPoolExecutor) -> int:
    """Ask the gateway about the challenges that are due. Returns how many there were."""
    pauses = {"first": settings.CHALLENGE_POLL_SECONDS, "most": MAX_PAUSE_SECONDS}
    rows = fetch_all(TAKE_DUE, {"size": BATCH_SIZE, **pauses})
    return share_out(threads, _poll_traced, [Challenged(*row) for row in rows])


def _poll_traced(challenge: Challenged) -> None:
    with tracing.task("challenge", {"attempt": challenge.attempts}):
        poll_one(challenge)


def poll_one(challenge: Challenged) -> str:
    """Ask once, and settle a decision. Returns the gateway's outcome."""
    answer = _ask(challenge)
    if challenge.is_over and answer.code == "cancelled":
        answer.outcome, answer.code = "declined", EXPIRED
    if answer.outcome in ("approved", "declined", "cancelled"):
        settle_challenge(challenge.lifecycle, challenge.transaction_id, answer, actor="worker")
    extra = {"transaction": str(challenge.transaction_id), "outcome": answer.outcome, "attempt": challenge.attempts}
    logger.info("challenge", extra=extra)
    return answer.outcome


def _ask(challenge: Challenged) -> Answer:
    gateway = gateways.get(challenge.gateway)
    if challenge.manual_capture:
        ask = gateway.cancel_authorization if challenge.is_over else gateway.find_authorization
    else:
        ask = gateway.cancel_charge if challenge.is_over else gateway.find_charge
    return ask(challenge.gateway_key, reference=challenge.reference)


def settle_challenge(lifecycle: Lifecycle, transaction_id: UUID, answer: Answer, *, actor: str) -> bool:
    """Store the gateway's decision. Returns False if it was stored before."""
    answer.authentication = answer.authentication or _result_of(answer)
    return settle_decision(lifecycle, transaction_id, None, answer, actor=actor)


def _result_of(answer: Answer) -> AuthenticationResult:
    """Return the result that a decision without one implies. Nothing says that the issuer bears the loss."""
    if answer.outcome == "approved":
        return AuthenticationResult("authenticated", "merchant")
    return AuthenticationResult("abandoned" if answer.code == EXPIRED else "failed", "merchant")
