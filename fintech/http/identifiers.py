"""Ids in addresses and queries."""

import re
from uuid import UUID

# Python's UUID() also reads braces, `urn:uuid:`, other dashes, and the digits of other scripts.
_CANONICAL = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII | re.IGNORECASE)


def parse_uuid(text: str) -> UUID | None:
    """Return the UUID that `text` is in its usual form (RFC 9562, section 4), or None."""
    return UUID(text) if _CANONICAL.fullmatch(text) else None
