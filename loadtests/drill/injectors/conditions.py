"""The conditions of drills, and the days before them, which Prometheus gets by back-filling."""

import time
from collections.abc import Callable, Iterable

from loadtests.drill.lab import SPEED, Conditions


def samples(series: str, value: Callable[[float], float], *, hours: float, step: int = 5) -> Iterable[str]:
    """Return samples of the past hours of the rules' time, as OpenMetrics text. `value` is a function of the age."""
    now = time.time()
    ages = range(round(hours * 3600 / SPEED), step, -step)
    return (f"{series} {value(age * SPEED / 3600)} {now - age:.3f}\n" for age in ages)


def constant(value: float) -> Callable[[float], float]:
    return lambda _: value


def usual_days() -> str:
    """Return a day with the traffic of a drill: 18 payments a second, of which 8 are sales in euros."""
    series = {
        "kpi:transactions:rate5m": 18,
        'kpi:revenue:per_minute5m{currency="EUR"}': 12_000,
        'kpi:sales:rate5m{currency="EUR"}': 8,
    }
    lines = [line for name, value in series.items() for line in samples(name, constant(value), hours=26)]
    return "".join([*lines, "# EOF\n"])


def bad_yesterday() -> str:
    """Return three days. From a day ago until six hours ago 0.5 % of payments failed.

    The days before had twice the traffic, so the budget of three days is not spent too fast. There is a sample a
    second, as in the drill: a mean over time counts samples.
    """
    labels = '{slo="payment-availability",topic="availability"}'
    lines = [
        *samples(f"slo:bad_events:rate5m{labels}", lambda age: 0.1 if 6.5 < age < 24 else 0, hours=73, step=1),
        *samples(f"slo:events:rate5m{labels}", lambda age: 18 if age < 24 else 36, hours=73, step=1),
    ]
    return "".join([*lines, "# EOF\n"])


A_DAY_BEFORE = Conditions(history=usual_days)
BURNT_YESTERDAY = Conditions(history=bad_yesterday)
SMALL_WEB = Conditions(settings=(("WEB_CAPACITY", "12"),))
SLOW_BATCHES = Conditions(settings=(("BATCH_CONCURRENCY", "16"), ("BATCH_DEADLINE_SECONDS", "30")))
WEBHOOKS = Conditions(settings=(("WEBHOOKS_TO_LOOPBACK", "True"),))
SHORT_HOLDS = Conditions(durations=(("AUTHORIZATION_HOLD_SECONDS", 20 * 3600),))
LOW_LIMIT = Conditions(settings=(("THROTTLE_RATE", "25"), ("THROTTLE_BURST", "50")))
WATCHED = Conditions(watched=True, durations=(("ALERT_GRACE_SECONDS", 80), ("ALERT_QUIET_SECONDS", 80)))
RARE_SCRAPES = Conditions(speed=10, scrape_seconds=2.5)
# On a running platform, as `make run` configures it.
REAL_TIME = Conditions(speed=1, scrape_seconds=5)
# Windows of hours. Nothing is asked of payments.
HOURS = Conditions(speed=60, with_traffic=False, settings=(("AUDIT_SEAL_SECONDS", "1"),))
