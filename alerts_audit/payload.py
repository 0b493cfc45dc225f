"""Alertmanager's payload, version 4 and later: decode a body.

This is the only place that decides whether a body is readable; the webhook's log line, the lists and the projection use
it. Values that PostgreSQL refuses or that have no sensible meaning (NUL, a lone surrogate, a number for a string) are
replaced and recorded; the bytes themselves are kept. A body that is no such payload raises `Unreadable`.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from itertools import accumulate
from typing import Any

import msgspec

MAX_NAMES = 10
MAX_TEXT = 200
# Half of what the oldest supported Python can parse. Our own limit, because Python's limits differ by version and a
# rebuild must give the same result under the next one.
MAX_DEPTH = 500


class Unreadable(ValueError):
    """The body is not an Alertmanager payload; the message gives the reason for people."""


class Alert(msgspec.Struct, rename="camel", gc=False):
    labels: dict[str, str]
    annotations: dict[str, str] = {}
    status: str = ""
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    generator_url: str = msgspec.field(default="", name="generatorURL")
    fingerprint: str = ""


class Payload(msgspec.Struct, rename="camel"):
    alerts: list[Alert]
    receiver: str = ""
    status: str = ""
    version: str = ""
    group_key: str = ""
    external_url: str = msgspec.field(default="", name="externalURL")
    notification_reason: str = msgspec.field(default="", name="notification_reason")
    truncated_alerts: int = 0

    def alert_names(self) -> list[str]:
        return few(alert.labels.get("alertname", "") for alert in self.alerts)

    def severities(self) -> list[str]:
        return few(severity for alert in self.alerts if (severity := alert.labels.get("severity")))

    def statuses(self) -> Counter[str]:
        """Return the number of firing and resolved alerts."""
        return Counter(alert.status or self.status for alert in self.alerts)


def few(words: Iterable[str]) -> list[str]:
    """Return the distinct values, sorted, limited to what a log line or a table cell can show."""
    return [word[:MAX_TEXT] for word in sorted(set(words))[:MAX_NAMES]]


_decoder = msgspec.json.Decoder(Payload)
_NO_BRACKETS = bytes(set(range(256)) - set(b'[]{}"'))
_STEPS = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}
_ESCAPE = re.compile(rb"\\.", re.DOTALL)


def read(body: bytes) -> Payload | None:
    return decode(body).payload


class DecodedBody(msgspec.Struct, frozen=True):
    """A payload and the names of what was replaced in it, or the error of a body that is no payload."""

    payload: Payload | None = None
    repairs: frozenset[str] = frozenset()
    error: str | None = None


def decode(body: bytes) -> DecodedBody:
    if is_deeper(body, MAX_DEPTH):
        return DecodedBody(error="it is nested too deeply")
    repairs: set[str] = set()
    try:
        content = _decode_with_room(body, repairs)
    except Unreadable as error:
        return DecodedBody(error=str(error))
    return DecodedBody(content, frozenset(repairs))


def _decode_with_room(body: bytes, repairs: set[str]) -> Payload:
    try:
        return _decode(body, repairs)
    except RecursionError:  # the caller is deep within a command: another thread has its own stack
        with ThreadPoolExecutor(1) as empty:
            return empty.submit(_decode, body, repairs).result()


def is_deeper(body: bytes, most: int) -> bool:
    """Return True if more than `most` brackets are open at once, outside of strings."""
    if b"\\" in body:
        body = _ESCAPE.sub(b"", body)
    # Most strings contain no brackets, so only two quotes remain of them; without these the rest stays paired.
    brackets = b"".join(body.translate(None, _NO_BRACKETS).replace(b'""', b"").split(b'"')[::2])
    return max(accumulate(map(_STEPS.__getitem__, brackets)), default=0) > most


def _decode(body: bytes, repairs: set[str]) -> Payload:
    """Decode quickly a valid body, and carefully any other."""
    if b"\\u0000" not in body:
        try:
            return _decoder.decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, OverflowError):
            pass
    try:
        return Repairer(repairs).webhook(json.loads(body))
    except Unreadable:
        raise
    except UnicodeDecodeError:
        raise Unreadable("it is not UTF-8") from None
    except ValueError:  # the message differs between versions of Python, and a rebuild must produce the same
        raise Unreadable("it is not JSON") from None


class Repairer:
    """Repairs a nearly valid payload, and records the replaced values."""

    def __init__(self, repairs: set[str]) -> None:
        self.repairs = repairs

    def webhook(self, content: Any) -> Payload:
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
        return Payload(alerts, receiver, status, version, group_key, external_url, reason, truncated)

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
