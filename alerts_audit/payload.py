"""What the webhook itself understands of Alertmanager's payload, version 4: enough for its counters and its log line.

Only what is used is decoded; unknown keys and another `version` are no reason to refuse.
"""

from collections import Counter
from collections.abc import Iterable

import msgspec

MOST_NAMES = 10
LONGEST_TEXT = 200


class Labels(msgspec.Struct):
    alertname: str = ""
    severity: str = ""


class Alert(msgspec.Struct):
    labels: Labels
    status: str = ""


class Payload(msgspec.Struct, rename="camel"):
    receiver: str
    status: str
    alerts: list[Alert]
    group_key: str = ""

    def alert_names(self) -> list[str]:
        return few(alert.labels.alertname for alert in self.alerts)

    def severities(self) -> list[str]:
        return few(alert.labels.severity for alert in self.alerts if alert.labels.severity)

    def statuses(self) -> Counter[str]:
        """How many alerts are firing, how many resolved."""
        return Counter(alert.status for alert in self.alerts)


def few(words: Iterable[str]) -> list[str]:
    """Each once, sorted; no more than a log line or a table cell can bear."""
    return [word[:LONGEST_TEXT] for word in sorted(set(words))[:MOST_NAMES]]


_decoder = msgspec.json.Decoder(Payload)


def read(body: bytes) -> Payload | None:
    """The payload, or None if the body is not one."""
    try:
        return _decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
