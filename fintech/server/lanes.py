"""Where each request runs, so that no kind of work waits behind another.

Payments and /health run on the event loop. Threads do the rest, in pools of their own: what waits for the gateway must
not keep pages from people, and neither must keep alerts or probes.
"""

from enum import Enum
from wsgiref.types import WSGIEnvironment

# They wait through `fintech.server.cooperation` alone.
LOOP_PATHS = frozenset(["/v1/transactions", "/transaction"])
PROBE_PATHS = frozenset(["/ready", "/metrics"])
GATEWAY_ENDINGS = ("/batch", "/refunds")


class Lane(Enum):
    LOOP = "loop"
    PROBES = "probe"
    ALERTS = "alert"
    GATEWAY = "gateway"
    PAGES = "page"

    def threads(self, most: int) -> int:
        """Of `most`, the setting. Probes and alerts are short."""
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
