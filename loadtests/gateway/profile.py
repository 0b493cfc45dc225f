"""The fault profile: which faults occur, how often and how slowly. Set at run time, kept across restarts."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from random import Random
from typing import Any

from loadtests.gateway.outcomes import APPROVE, BY_RATIO, HOLD, MAGIC, Behaviour

MAX_HOLD_SECONDS = 600
MAX_LATENCY_MS = MAX_HOLD_SECONDS * 1000
MAX_AUTHORIZATION_SECONDS = 30 * 86_400


class WrongProfile(ValueError):
    """An unknown field or a value out of range; the message is one sentence for the sender."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """The profile. Its ratios are shares of the charges and refunds without a magic amount; others are approved."""

    latency_ms: float = 0
    latency_jitter_ms: float = 0  # up to this much is added to latency_ms, uniformly distributed
    decline_ratio: float = 0
    error_ratio: float = 0
    unavailable_ratio: float = 0
    timeout_ratio: float = 0
    lose_reply_ratio: float = 0
    late_reply_ratio: float = 0
    drop_ratio: float = 0
    hold_seconds: float = 10
    challenge_seconds: float = 300  # the time that a customer has for a challenge
    authorization_seconds: float = MAX_AUTHORIZATION_SECONDS  # after this, an authorization has expired
    cancel_fails: bool = False
    late_events: bool = False  # an event for each decision whose reply was lost, late or held
    events_url: str | None = None  # where events go; None: GATEWAY_EVENTS_URL
    seed: int | None = None

    def to_fields(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_fields(cls, values: Mapping[str, Any]) -> "Profile":
        """Create a profile. Raise WrongProfile, naming the field."""
        known = {field.name for field in fields(cls)}
        for name in values:
            if name not in known:
                raise WrongProfile(f"{name} is not a field of the profile: use {', '.join(sorted(known))}.")
        for name in values.keys() & BY_RATIO.keys():
            _check_number(name, values[name], 1)
        for name, most in _LIMITS.items():
            _check_number(name, values.get(name, 0), most)
        for name in ("cancel_fails", "late_events"):
            if type(values.get(name, False)) is not bool:
                raise WrongProfile(f"{name} must be true or false.")
        if not _is_url(values.get("events_url")):
            raise WrongProfile("events_url must be an address such as http://127.0.0.1:5000/gateway/events, or null.")
        if values.get("seed") is not None and type(values["seed"]) is not int:
            raise WrongProfile("seed must be a whole number or null.")
        if sum(values.get(name, 0) for name in BY_RATIO) > 1 + 1e-9:
            raise WrongProfile(f"The sum of {', '.join(BY_RATIO)} must not be above 1.")
        return cls(**values)


_LIMITS = {
    "latency_ms": MAX_LATENCY_MS,
    "latency_jitter_ms": MAX_LATENCY_MS,
    "hold_seconds": MAX_HOLD_SECONDS,
    "challenge_seconds": MAX_HOLD_SECONDS,
    "authorization_seconds": MAX_AUTHORIZATION_SECONDS,
}


def _is_url(value: object) -> bool:
    return value is None or (isinstance(value, str) and value.startswith(("http://", "https://")))


def _check_number(name: str, value: object, most: float) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= most:
        raise WrongProfile(f"{name} must be a number from 0 to {most}.")


class Faults:
    """Draws the behaviour of each request from a profile; with a seed it repeats the same draws."""

    def __init__(self, profile: Profile) -> None:
        self.profile = profile
        self._random = Random(profile.seed)
        self._shares = [
            (getattr(profile, name), behaviour) for name, behaviour in BY_RATIO.items() if getattr(profile, name)
        ]

    def behaviour(self, amount: int) -> Behaviour:
        magic = MAGIC.get(amount % 1000)
        if magic:
            return magic
        if self._shares:
            draw = self._random.random()
            for share, behaviour in self._shares:
                draw -= share
                if draw < 0:
                    return behaviour
        return APPROVE

    def seconds_before(self, behaviour: Behaviour) -> float:
        """Return how long a request with this behaviour waits before a decision."""
        latency = self.profile.latency_ms
        if self.profile.latency_jitter_ms:
            latency += self._random.uniform(0, self.profile.latency_jitter_ms)
        return latency / 1000 + (self.profile.hold_seconds if behaviour.wait == HOLD else behaviour.wait)
