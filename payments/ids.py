"""Identifiers that contain their time."""

from datetime import datetime
from uuid import UUID


def first_id_at(moment: datetime) -> UUID:
    """Return the smallest UUID v7 of a millisecond: 48 bits of Unix time, then version and variant."""
    milliseconds = int(moment.timestamp() * 1000)
    return UUID(int=(milliseconds << 80) | (0x7 << 76) | (0x2 << 62))
