"""The gateway's answers. One that does not clearly say "not charged" leaves the outcome unknown."""

from contextlib import suppress
from typing import Any

import msgspec

from payments.gateway.base import Answer, AuthenticationResult, Challenge
from payments.states import AUTHENTICATIONS, FAILED_AUTHENTICATIONS


def read_challenged(status_code: int, content: Any) -> Answer:
    """Return the outcome in an answer that may also be a challenge."""
    if status_code == 200 and isinstance(content, dict) and content.get("outcome") == "requires_action":
        with suppress(msgspec.ValidationError):
            return Answer("requires_action", challenge=msgspec.convert(content.get("challenge"), Challenge))
    return read_answer(status_code, content)


def read_authentication(content: dict[str, Any], outcome: str) -> AuthenticationResult | None:
    """Return the result of the authentication in a decision, if there is one that is known and fits the outcome."""
    found = content.get("authentication")
    if not isinstance(found, dict) or found.get("outcome") not in AUTHENTICATIONS:
        return None
    is_failed = found["outcome"] in FAILED_AUTHENTICATIONS
    if is_failed and outcome == "approved":
        return None
    is_issuer = found.get("liability_shift") == "issuer" and not is_failed
    return AuthenticationResult(found["outcome"], "issuer" if is_issuer else "merchant")


def read_answer(status_code: int, content: Any) -> Answer:
    """Return the outcome in the gateway's answer, with its authentication if there was one."""
    if not isinstance(content, dict):
        return Answer("timeout", "unreadable_answer")
    answer = _read_outcome(status_code, content)
    if "authentication" in content and answer.outcome in ("approved", "declined"):
        answer.authentication = read_authentication(content, answer.outcome)
    return answer


def _read_outcome(status_code: int, content: dict[str, Any]) -> Answer:
    outcome, code, reference = content.get("outcome"), content.get("code"), content.get("reference")
    match status_code, outcome:
        case 200, "approved" | "already_charged" if isinstance(reference, str):
            return Answer("approved", None, reference)
        case 200, "declined" | "already_declined":
            return Answer("declined", code if isinstance(code, str) else "declined")
        case (200, "cancelled") | (409, "cancelled"):
            return Answer("cancelled", "cancelled")
        case ((422 | 500 | 502), "error") if content.get("charged") is False:
            return Answer("error", code if isinstance(code, str) else "gateway_error")
        case 503, "unavailable" if content.get("charged") is False:
            return Answer("unavailable", code if isinstance(code, str) else "gateway_unavailable")
        case ((401 | 403), _):
            return Answer("error", "gateway_refused_our_credentials")
    return Answer("timeout", "unclear_answer")
