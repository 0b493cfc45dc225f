"""Middleware: allowed hosts, browser security headers, and metrics of API requests."""

from collections.abc import Callable
from typing import Any

from csp.middleware import CSPMiddleware
from django.conf import settings
from django.core.exceptions import DisallowedHost
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django_prometheus.middleware import PrometheusAfterMiddleware
from django_prometheus.utils import Time, TimeSince

from fintech.http.problems import disallowed_host

# Machines reach these by any address, the answers contain none, and an alert must not be lost for its Host.
ANY_HOST_PATHS = frozenset(["/health", "/ready", "/metrics", "/alert"])


class AllowedHostMiddleware:
    """Refuse a Host that is not in ALLOWED_HOSTS before any work. Django checks it only where a view needs its name."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.path not in ANY_HOST_PATHS:
            try:
                request.get_host()
            except DisallowedHost:
                # Not the host itself: a client may write anything there.
                request.log_fields["reason"] = "disallowed_host"  # type: ignore[attr-defined]
                return disallowed_host().response()
        return self.get_response(request)


class ContentSecurityPolicyMiddleware(CSPMiddleware):
    """django-csp with a few exceptions for the paths that need them."""

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        for path, exceptions in settings.CONTENT_SECURITY_POLICY_EXCEPTIONS.items():
            if request.path.startswith(path):
                response._csp_update = exceptions  # type: ignore[attr-defined]
        return super().process_response(request, response)


class ApiMetricsMiddleware(PrometheusAfterMiddleware):
    """django-prometheus for the API, reduced to the used metrics: responses by status and latency, by view and method.

    All of its series (transport, charset, body sizes, each request before and after) cost a tenth of a payment.
    """

    def process_request(self, request: HttpRequest) -> None:
        request.prometheus_after_middleware_event = Time()  # type: ignore[attr-defined]

    def process_view(self, request: HttpRequest, *view: Any, **options: Any) -> None:
        pass

    def process_response(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        # Private names of django-prometheus, as its own middleware labels a view and a method.
        view, method = self._get_view_name(request), self._method(request)
        self.metrics.responses_by_status_view_method.labels(str(response.status_code), view, method).inc()
        started = request.prometheus_after_middleware_event  # type: ignore[attr-defined]
        self.metrics.requests_latency_by_view_method.labels(view, method).observe(TimeSince(started))
        return response
