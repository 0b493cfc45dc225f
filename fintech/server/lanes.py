"""The place where each request runs, so that no kind of work waits for another.

Payments and /health run on the event loop. All other requests run in threads, in separate pools: requests that wait for
the gateway must not delay pages, and neither must delay alerts or probes.
"""

from enum import Enum
from wsgiref.types import WSGIEnvironment

# They wait only through `fintech.server.cooperation`.
LOOP_PATHS = frozenset(["/v1/transactions", "/transaction"])
PROBE_PATHS = frozenset(["/ready", "/metrics"])
GATEWAY_ENDINGS = ("/batch", "/refunds", "/captures", "/void", "/review")


class Lane(Enum):
    LOOP = "loop"
    PROBES = "probe"
    ALERTS = "alert"
    GATEWAY = "gateway"
    PAGES = "page"

    def threads(self, most: int) -> int:
        """Return the number of threads, at most the setting `most`. Probes and alerts are short."""
        return most if self in (Lane.GATEWAY, Lane.PAGES) else min(most, 4)


def lane_of(environ: WSGIEnvironment) -> Lane:
    path, is_post = environ["PATH_INFO"], environ["REQUEST_METHOD"] == "POST"
    if path == "/health" or (is_post and path in LOOP_PATHS):
        return Lane.LOOP
    if path in PROBE_PATHS:
        return Lane.PROBES
    if path == "/alert":
        return Lane.ALERTS
    if is_post and path.endswith(GATEWAY_ENDINGS):
        return Lane.GATEWAY
    return Lane.PAGES
