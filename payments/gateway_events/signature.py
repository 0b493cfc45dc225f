"""Signatures of received events: HMAC-SHA256 by the Standard Webhooks specification, and by Stripe's scheme."""

import hashlib
import hmac
import re
from collections.abc import Mapping
from datetime import UTC, datetime

from payments.webhooks.signing import sign

TOLERANCE_SECONDS = 300  # the specification's advice, before and after
MAX_SIGNATURES = 16

_ID = re.compile(r"[\x21-\x7e]{1,255}")
_TIMESTAMP = re.compile(r"[0-9]{1,11}")  # a year that datetime knows


class WrongSignature(ValueError):
    """The request is not the gateway's, or is a replay; the message is one sentence for the sender."""


def verify(secret: str, headers: Mapping[str, str], body: bytes, *, now: datetime) -> tuple[str, datetime]:
    """Return the event's id and the time at which it was sent. Raise WrongSignature."""
    identifier = headers.get("HTTP_WEBHOOK_ID", "")
    timestamp = headers.get("HTTP_WEBHOOK_TIMESTAMP", "")
    if not _ID.fullmatch(identifier) or not _TIMESTAMP.fullmatch(timestamp):
        raise WrongSignature("Send webhook-id, webhook-timestamp (Unix seconds) and webhook-signature.")
    moment = datetime.fromtimestamp(int(timestamp), UTC)
    wanted = sign([secret], identifier, moment, body)["webhook-signature"]
    given = headers.get("HTTP_WEBHOOK_SIGNATURE", "").split(" ")[:MAX_SIGNATURES]
    # Every one is compared: the time of the answer does not depend on which one fits.
    if not secret or not sum(hmac.compare_digest(one.encode(), wanted.encode()) for one in given):
        raise WrongSignature("The signature does not fit the body.")
    _refuse_other_time("webhook-timestamp", moment, now)
    return identifier, moment


def verify_stripe(secret: str, headers: Mapping[str, str], body: bytes, *, now: datetime) -> datetime:
    """Return the time at which Stripe sent the event. Raise WrongSignature.

    `Stripe-Signature` is `t=<Unix seconds>,v1=<hex>`; after a change of secrets it has a `v1` for each of both.
    """
    parts = [part.partition("=")[::2] for part in headers.get("HTTP_STRIPE_SIGNATURE", "").split(",")[:MAX_SIGNATURES]]
    timestamp = next((value for name, value in parts if name == "t"), "")
    if not _TIMESTAMP.fullmatch(timestamp):
        raise WrongSignature("Send Stripe-Signature with t (Unix seconds) and v1.")
    wanted = hmac.new(secret.encode(), f"{timestamp}.".encode() + body, hashlib.sha256).hexdigest()
    given = [value for name, value in parts if name == "v1"]
    if not secret or not sum(hmac.compare_digest(one.encode(), wanted.encode()) for one in given):
        raise WrongSignature("The signature does not fit the body.")
    moment = datetime.fromtimestamp(int(timestamp), UTC)
    _refuse_other_time("The time in Stripe-Signature", moment, now)
    return moment


def _refuse_other_time(name: str, moment: datetime, now: datetime) -> None:
    if abs((now - moment).total_seconds()) > TOLERANCE_SECONDS:
        raise WrongSignature(f"{name} differs from our clock by more than {TOLERANCE_SECONDS} seconds.")
