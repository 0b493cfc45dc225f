"""Our own application with a gateway that approves at once, in the process: the remaining time is ours.

Of the load tests, only the benchmark imports the application. `BENCH_QUIET=1` also turns metrics and logs off, to
measure their cost.
"""

import logging
import os
from typing import Any
from uuid import UUID

from django.conf import settings
from prometheus_client import Counter, Gauge, Histogram, Summary

from fintech import wsgi
from fintech.telemetry.observations import Observations
from fintech.wsgi import application
from payments.gateway.base import Answer, Exchange
from payments.gateway.http_gateway import HttpGateway
from payments.gateway.registry import gateways


class NullGateway(HttpGateway):
    def __init__(self) -> None:
        super().__init__("http://127.0.0.1:9", "")

    def charge(self, key: UUID, **order: Any) -> Answer:
        exchange = Exchange("charge", "approved", 200, {"outcome": "approved"}, 0.0)
        return Answer("approved", reference="null", exchanges=[exchange])


def turn_metrics_off() -> None:
    """Serve without the middleware that counts requests, and let no other metric count."""
    settings.API_MIDDLEWARE.remove("fintech.http.middleware.ApiMetricsMiddleware")
    wsgi._api.load_middleware()
    for metric in (Counter, Gauge, Histogram, Summary, Observations):
        for method in {"inc", "dec", "set", "observe"} & vars(metric).keys():
            setattr(metric, method, lambda *_, **__: None)


if os.environ.get("BENCH_GATEWAY") == "null":
    gateways.made[settings.GATEWAY_NAME] = NullGateway()
if os.environ.get("BENCH_QUIET"):
    logging.disable(logging.CRITICAL)
    turn_metrics_off()

__all__ = ["application"]
