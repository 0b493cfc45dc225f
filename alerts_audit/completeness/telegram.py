"""Notify people directly that the heartbeat stopped, and that it is back: one message each.

Sent messages are stored, so a restart repeats none. A failed message is retried for a day. The text is plain, so names
cannot break it. The token is part of the address, so no address is ever logged.
"""

from datetime import UTC, datetime, timedelta

import urllib3
from django.conf import settings

from alerts_audit.models import Gap, Notice
from fintech.connection_pools import make_pool
from fintech.errors import Unavailable

http = make_pool(timeout=urllib3.Timeout(connect=3, read=10), retries=False)

OUTDATED = timedelta(days=1)


class TelegramError(Unavailable):
    """The message was not sent. The text does not contain the token."""


def is_configured() -> bool:
    return bool(settings.AM_TELEGRAM_BOT_TOKEN and settings.AM_TELEGRAM_CHAT_ID)


def send_notices() -> int:
    """Send the pending messages in order and return their number. Raise TelegramError at the first failure."""
    begin = datetime.now(UTC) - OUTDATED
    rows = Gap.objects.filter(reason=Gap.Reason.HEARTBEAT, at__gt=begin, notice=None).order_by("pk")
    for gap in rows:
        send(message(gap))
        Notice.objects.create(gap=gap)
    return len(rows)


def message(gap: Gap) -> str:
    name = gap.details.get("alertname", "the heartbeat")
    if gap.closes_id is None:
        return (
            f"ALERTS MAY BE LOST: {name} of {gap.subject} has not arrived since {gap.since:%Y-%m-%d %H:%M:%S} UTC,"
            " so alerts may not get through. Look at Prometheus, Alertmanager and the network between them and us."
        )
    return (
        f"{name} of {gap.subject} is back since {gap.until:%Y-%m-%d %H:%M:%S} UTC."
        f" It was missing from {gap.since:%Y-%m-%d %H:%M:%S} UTC on."
    )


def send(text: str) -> None:
    """Send one message. Raise TelegramError."""
    url = f"{settings.TELEGRAM_API_URL.rstrip('/')}/bot{settings.AM_TELEGRAM_BOT_TOKEN}/sendMessage"
    content = {"chat_id": settings.AM_TELEGRAM_CHAT_ID, "text": text}
    try:
        response = http.request("POST", url, json=content)
    except urllib3.exceptions.HTTPError as error:
        raise TelegramError(
            f"Telegram does not answer: {type(error).__name__}"
        ) from None  # the error contains the address
    if response.status != 200:
        raise TelegramError(f"Telegram answered {response.status}")
