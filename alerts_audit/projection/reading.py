"""Reading a delivery's body: Alertmanager's webhook, version 4 and whatever comes after it.

What PostgreSQL refuses or nobody can use (NUL, half a surrogate pair, a number for a string, the year 9999) is
replaced, and `repaired` says so; the bytes themselves are kept. What is no such payload at all is `Unreadable`.
"""

import hashlib
import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from alerts_audit.projection.machine import Said

MOST_NAMES = 20
# Both are in indexes, whose entries must stay below 2,704 bytes.
LONGEST_NAME = 200
LONGEST_SUMMARY = 2000
# A start or an end outside of these is nobody's clock.
FIRST_YEAR = 1970
LAST_YEAR = 2200
AHEAD = timedelta(days=1)

LARGEST_INTEGER = 2**31 - 1


class Unreadable(ValueError):
    """It is no payload of Alertmanager's; the message says why, for people."""


class Alert(msgspec.Struct, rename="camel", gc=False):
    labels: dict[str, str]
    annotations: dict[str, str] = {}
    status: str = ""
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    generator_url: str = msgspec.field(default="", name="generatorURL")
    fingerprint: str = ""


class Webhook(msgspec.Struct, rename="camel"):
    alerts: list[Alert]
    receiver: str = ""
    status: str = ""
    version: str = ""
    group_key: str = ""
    external_url: str = msgspec.field(default="", name="externalURL")
    notification_reason: str = msgspec.field(default="", name="notification_reason")
    truncated_alerts: int = 0


class Word(msgspec.Struct, frozen=True, gc=False):
    """One alert of a delivery: whose it is, and what it says."""

    identity: bytes
    labels: dict[str, str]
    annotations: dict[str, str]
    generator_url: str
    fingerprint: str
    said: Said

    @property
    def alertname(self) -> str:
        return self.labels.get("alertname", "")[:LONGEST_NAME]

    @property
    def severity(self) -> str:
        return self.labels.get("severity", "")[:LONGEST_NAME]

    @property
    def summary(self) -> str:
        return (self.annotations.get("summary") or self.annotations.get("description", ""))[:LONGEST_SUMMARY]


class Reading(msgspec.Struct, frozen=True):
    webhook: Webhook
    words: list[Word]
    receiver: str
    repaired: str | None

    @property
    def truncated(self) -> int:
        return min(max(self.webhook.truncated_alerts, 0), LARGEST_INTEGER)

    @property
    def alertnames(self) -> list[str]:
        return sorted({word.alertname for word in self.words})[:MOST_NAMES]


_decoder = msgspec.json.Decoder(Webhook)
_canonical = msgspec.json.Encoder(order="sorted")


def identify(cluster: str, labels: dict[str, str]) -> bytes:
    """SHA-256 of the cluster and the labels in canonical JSON; the order of the labels means nothing."""
    return hashlib.sha256(_canonical.encode([cluster, labels])).digest()


def read(body: bytes, *, source: str, cluster: str, at: datetime) -> Reading:
    """Raises Unreadable. `at` is when it was received."""
    repairs: set[str] = set()
    webhook = decode(body, repairs)
    words = [
        read_alert(alert, webhook.status, source=source, cluster=cluster, at=at, repairs=repairs)
        for alert in webhook.alerts
    ]
    return Reading(webhook, words, unescape(webhook.receiver), "; ".join(sorted(repairs)) or None)


def unescape(receiver: str) -> str:
    """As it is configured: Alertmanager sends it escaped, as a regular expression."""
    return re.sub(r"\\([\\.+*?()|\[\]{}^$])", r"\1", receiver)


def decode(body: bytes, repairs: set[str]) -> Webhook:
    """The quick way for what is as it should be, the patient one for the rest."""
    if b"\\u0000" not in body:
        try:
            return _decoder.decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, OverflowError):
            pass
    try:
        return Repairer(repairs).webhook(json.loads(body))
    except Unreadable:
        raise
    except UnicodeDecodeError:
        raise Unreadable("it is not UTF-8") from None
    except RecursionError:
        raise Unreadable("it is nested too deeply") from None
    except ValueError:  # its message differs between versions of Python, and a rebuild must find the same
        raise Unreadable("it is not JSON") from None


def read_alert(alert: Alert, group_status: str, *, source: str, cluster: str, at: datetime, repairs: set[str]) -> Word:
    firing = (alert.status or group_status) != "resolved"
    starts_at = usable(alert.starts_at, at)
    ends_at = None if firing else usable(alert.ends_at, at)
    if starts_at is None:
        repairs.add("a start that nobody can use")
    if ends_at is None and not firing:
        repairs.add("an end that nobody can use")
    return Word(
        identify(cluster, alert.labels),
        alert.labels,
        alert.annotations,
        alert.generator_url,
        alert.fingerprint,
        Said(source, at, firing, starts_at, ends_at),
    )


def usable(time: datetime | None, at: datetime) -> datetime | None:
    if time is None or not FIRST_YEAR < time.year < LAST_YEAR:
        return None
    time = time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
    return time if time <= at + AHEAD else None


class Repairer:
    """Makes a payload of what is nearly one, and notes what it replaced."""

    def __init__(self, repairs: set[str]) -> None:
        self.repairs = repairs

    def webhook(self, content: Any) -> Webhook:
        if not isinstance(content, dict):
            raise Unreadable("it is JSON, but no object")
        if not isinstance(content.get("alerts"), list):
            raise Unreadable('it has no list of "alerts"')
        texts = ("receiver", "status", "version", "groupKey", "externalURL", "notification_reason")
        receiver, status, version, group_key, external_url, reason = (self.text(content.get(name)) for name in texts)
        alerts = [self.alert(alert, place) for place, alert in enumerate(content["alerts"])]
        truncated = content.get("truncatedAlerts", 0)
        if type(truncated) is not int:
            self.repairs.add("a number of truncated alerts that is none")
            truncated = 0
        return Webhook(alerts, receiver, status, version, group_key, external_url, reason, truncated)

    def alert(self, content: Any, place: int) -> Alert:
        if not isinstance(content, dict) or not isinstance(content.get("labels"), dict):
            raise Unreadable(f"alert {place} has no labels")
        annotations = content.get("annotations")
        if annotations is not None and not isinstance(annotations, dict):
            self.repairs.add("annotations that are no object")
        return Alert(
            self.texts(content["labels"]),
            self.texts(annotations if isinstance(annotations, dict) else {}),
            self.text(content.get("status")),
            self.time(content.get("startsAt")),
            self.time(content.get("endsAt")),
            self.text(content.get("generatorURL")),
            self.text(content.get("fingerprint")),
        )

    def texts(self, mapping: dict[str, Any]) -> dict[str, str]:
        return {self.text(name): self.text(value) for name, value in mapping.items()}

    def text(self, value: Any) -> str:
        if value is None:
            return ""
        if not isinstance(value, str):
            self.repairs.add("something else where a text was expected")
            value = json.dumps(value, sort_keys=True)
        if "\0" in value:
            self.repairs.add("NUL")
            value = value.replace("\0", "\N{REPLACEMENT CHARACTER}")
        if not value.isascii() and re.search("[\ud800-\udfff]", value):
            self.repairs.add("half of a surrogate pair")
            value = re.sub("[\ud800-\udfff]", "\N{REPLACEMENT CHARACTER}", value)
        return value

    def time(self, value: Any) -> datetime | None:
        try:
            return msgspec.convert(value, datetime)
        except (msgspec.ValidationError, OverflowError):
            return None
