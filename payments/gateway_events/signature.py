"""Signatures of received events: HMAC-SHA256 by the Standard Webhooks specification."""

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
    if abs((now - moment).total_seconds()) > TOLERANCE_SECONDS:
        raise WrongSignature(f"webhook-timestamp differs from our clock by more than {TOLERANCE_SECONDS} seconds.")
    return identifier, moment
