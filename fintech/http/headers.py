"""Request headers that may occur once.

Servers and proxies join repeated headers with commas. Two keys `k` would become the new key `k,k`, and a customer
would be charged a second time. So they are refused while they are still two.

This module needs neither Django nor a server: the web's server and the gateway simulator both use it.
"""

from collections.abc import Iterable

# By their names in lower case, in the form that people write.
_NAMES = {
    name.lower(): name
    for name in (
        "Authorization",
        "Content-Length",
        "Content-Type",
        "Host",
        "Idempotency-Key",
        "traceparent",
        "X-Request-ID",
    )
}
SINGLE = frozenset(_NAMES)
# An alert is evidence, and its sender never repeats a 400, so only the headers about its sender and its target must be
# unambiguous.
SINGLE_OF_ALERTS = frozenset(["authorization", "content-length", "host"])
ALERT_PATH = "/alert"


def find_repeated(headers: Iterable[tuple[str, str]], path: str = "") -> str | None:
    """Return the name of a header that occurs twice but may not, with equal values or different ones."""
    single = SINGLE_OF_ALERTS if path == ALERT_PATH else SINGLE
    seen: set[str] = set()
    for spelled, _ in headers:
        name = spelled.lower()
        if name in single:
            if name in seen:
                return _NAMES[name]
            seen.add(name)
    return None


def is_joined(value: str) -> bool:
    """Return True for equal values that a proxy has joined, such as `k,k`."""
    first, *others = value.split(",")
    return bool(first and others) and all(other == first for other in others)
