"""Times that a client or an operator writes, in the form of RFC 3339."""

import re
from datetime import UTC, datetime

# Section 5.6. Python also reads weeks, and Django the digits of other scripts.
_TIME = re.compile(r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}:\d{2}(\.\d+)?(Z|[+-]\d{2}:\d{2})", re.ASCII | re.IGNORECASE)
EARLIEST, LATEST = datetime(1970, 1, 2, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)


def parse_time(text: str) -> datetime | None:
    """Return the time, or None for another form, and for a day or an hour that does not exist."""
    try:
        return datetime.fromisoformat(text.upper()) if _TIME.fullmatch(text) else None
    except ValueError:
        return None


def in_range(moment: datetime) -> datetime:
    """Return the nearest time that the database reads. Its offsets are below 16 hours, those of RFC 3339 below 24."""
    return min(max(moment, EARLIEST), LATEST).astimezone(UTC)
