"""Addresses written by others: an annotation, a generator URL, a link to an incident. Pages link only to safe ones."""

import re
from urllib.parse import urlsplit

MAX_ADDRESS = 2000
_FORBIDDEN = re.compile(r"[\x00-\x20\x7f<>\"\\^`{|}]")


def web_address(text: object) -> str | None:
    """Return `text` if a browser may follow it: http or https, with a host, and no disguised `javascript:`."""
    if not isinstance(text, str) or not 0 < len(text) <= MAX_ADDRESS or _FORBIDDEN.search(text):
        return None
    try:
        parts = urlsplit(text)
        known = parts.scheme in ("http", "https") and bool(parts.hostname) and "@" not in parts.netloc
        return text if known and parts.port != 0 else None
    except ValueError:  # an invalid port, an incomplete bracket
        return None
