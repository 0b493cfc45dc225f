"""Identifiers that contain their time."""

from datetime import datetime, timedelta
from uuid import UUID

# An id may be made by another clock than its row's time: an index limits rows to a range of ids that is wider by this,
# and the time decides.
SLACK = timedelta(minutes=1)


def first_id_at(moment: datetime) -> UUID:
    """Return the smallest UUID v7 of a millisecond: 48 bits of Unix time, then version and variant."""
    milliseconds = int(moment.timestamp() * 1000)
    return UUID(int=(milliseconds << 80) | (0x7 << 76) | (0x2 << 62))
