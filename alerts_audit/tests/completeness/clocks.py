"""Clocks for tests."""

from datetime import datetime, timedelta, tzinfo
from typing import Self


class AnHourLater(datetime):
    """The clock of an hour later."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> Self:
        return super().now(tz) + timedelta(hours=1)
