"""The behaviour of the gateway for a charge or a refund: by magic amount, or by the ratios of the fault profile."""

from dataclasses import dataclass
from enum import Enum

HOLD = -1.0
"""A wait of the profile's `hold_seconds`, whatever that is at the time."""


class Does(Enum):
    APPROVE = "approved"
    DECLINE = "declined"
    ERROR = "error"
    UNAVAILABLE = "unavailable"
    NOTHING = "nothing"


class Reply(Enum):
    SENT = "sent"
    LATE = "sent after hold_seconds"
    LOST = "never sent, the connection is dropped"


@dataclass(frozen=True, slots=True)
class Behaviour:
    """The behaviour for one request. A cancel may come in the `wait` seconds before the decision."""

    does: Does
    code: str | None = None
    wait: float = 0
    reply: Reply = Reply.SENT
    once: bool = False  # only the first attempt with a key; the second is approved

    @property
    def decides(self) -> bool:
        """Return True for outcomes that are stored: approved and declined. All others leave the key open."""
        return self.does in (Does.APPROVE, Does.DECLINE)


APPROVE = Behaviour(Does.APPROVE)
ERROR = Behaviour(Does.ERROR, "processing_error")
UNAVAILABLE = Behaviour(Does.UNAVAILABLE, "acquirer_unavailable")
HANG = Behaviour(Does.NOTHING, wait=HOLD, reply=Reply.LOST)
DROP = Behaviour(Does.NOTHING, reply=Reply.LOST)
LOSE_REPLY = Behaviour(Does.APPROVE, reply=Reply.LOST)
LATE_REPLY = Behaviour(Does.APPROVE, reply=Reply.LATE)

# The last three digits of the amount. docs/gateway.md has the same table; a test compares both.
MAGIC: dict[int, Behaviour] = {
    901: Behaviour(Does.DECLINE, "insufficient_funds"),
    902: Behaviour(Does.DECLINE, "do_not_honor"),
    903: Behaviour(Does.DECLINE, "expired_card"),
    904: Behaviour(Does.DECLINE, "lost_or_stolen"),
    911: ERROR,
    912: UNAVAILABLE,
    913: Behaviour(Does.UNAVAILABLE, "acquirer_unavailable", once=True),
    921: HANG,
    922: LOSE_REPLY,
    923: LATE_REPLY,
    924: DROP,
    925: Behaviour(Does.APPROVE, wait=HOLD),
    931: Behaviour(Does.APPROVE, wait=1.0),
}

# Each ratio of the fault profile, and its behaviour for an amount that is not magic.
BY_RATIO: dict[str, Behaviour] = {
    "decline_ratio": MAGIC[902],
    "error_ratio": ERROR,
    "unavailable_ratio": UNAVAILABLE,
    "timeout_ratio": HANG,
    "lose_reply_ratio": LOSE_REPLY,
    "late_reply_ratio": LATE_REPLY,
    "drop_ratio": DROP,
}
