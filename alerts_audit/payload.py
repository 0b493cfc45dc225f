"""What we understand of Alertmanager's webhook, version 4.

Only what is used is decoded; unknown keys and another `version` are no reason to refuse.
"""

import msgspec

MOST_NAMES = 10
LONGEST_TEXT = 200


class Labels(msgspec.Struct):
    alertname: str = ""


class Alert(msgspec.Struct):
    labels: Labels


class Payload(msgspec.Struct, rename="camel"):
    receiver: str
    status: str
    alerts: list[Alert]
    group_key: str = ""

    def alert_names(self) -> list[str]:
        """Each name once, sorted; no more than a log line or a table cell can bear."""
        names = sorted({alert.labels.alertname for alert in self.alerts})
        return [name[:LONGEST_TEXT] for name in names[:MOST_NAMES]]


def read(body: bytes) -> Payload | None:
    """The payload, or None if the body is not one."""
    try:
        return msgspec.json.decode(body, type=Payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
