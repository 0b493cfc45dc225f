"""Middleware: allowed hosts, browser security headers, and metrics of API requests."""

from collections.abc import Callable
from typing import Any

from csp.middleware import CSPMiddleware
from django.conf import settings
from django.core.exceptions import DisallowedHost
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.middleware.security import SecurityMiddleware
from django_prometheus.middleware import PrometheusAfterMiddleware
from django_prometheus.utils import Time, TimeSince
from prometheus_client import Counter

from fintech.http.problems import disallowed_host
from fintech.telemetry.observations import Observations

# Machines reach these by any address, the answers contain none, and an alert must not be lost for its Host.
ANY_HOST_PATHS = frozenset(["/health", "/ready", "/metrics", "/alert", "/gateway/events"])


MAX_HOSTS = 1_000  # a wildcard in ALLOWED_HOSTS allows any number of names


class AllowedHostMiddleware:
    """Refuse a Host that is not in ALLOWED_HOSTS before any work. Django checks it only where a view needs its name."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response
        self._accepted: set[str] = set()

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.META.get("HTTP_HOST") not in self._accepted and request.path not in ANY_HOST_PATHS:
            try:
                self._accept(request)
            except DisallowedHost:
                # Not the host itself: a client may write anything there.
                request.log_fields["reason"] = "disallowed_host"  # type: ignore[attr-defined]
                return disallowed_host().response()
        return self.get_response(request)

    def _accept(self, request: HttpRequest) -> None:
        """Check the Host. An accepted one is not checked again, if no other header can replace it."""
        request.get_host()
        host = request.META.get("HTTP_HOST")
        if host and not settings.USE_X_FORWARDED_HOST and len(self._accepted) < MAX_HOSTS:
            self._accepted.add(host)


class ContentSecurityPolicyMiddleware(CSPMiddleware):
    """django-csp with a few exceptions for the paths that need them."""

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        for path, exceptions in settings.CONTENT_SECURITY_POLICY_EXCEPTIONS.items():
            if request.path.startswith(path):
                response._csp_update = exceptions  # type: ignore[attr-defined]
        return super().process_response(request, response)


class ApiSecurityMiddleware(SecurityMiddleware):
    """Django's middleware for the API: its constant headers are encoded once, not for each response."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        super().__init__(get_response)
        secure, plain = (self._headers(is_secure) for is_secure in (True, False))
        self._constant = {True: secure, False: plain}

    def __call__(self, request: HttpRequest) -> Any:
        redirect = self.process_request(request)
        if redirect is not None:
            return self.process_response(request, redirect)
        response: Any = self.get_response(request)
        # The private mapping of Django's headers: its public methods check and encode each value.
        response.headers._store = {**self._constant[request.is_secure()], **response.headers._store}
        return response

    def _headers(self, is_secure: bool) -> dict[str, tuple[str, str]]:
        request = HttpRequest()
        request.META["wsgi.url_scheme"] = "https" if is_secure else "http"
        request.is_secure = lambda: is_secure  # type: ignore[method-assign]
        response: Any = self.process_response(request, HttpResponse())
        del response["Content-Type"]
        return dict(response.headers._store)


class BrowserMetricsMiddleware(PrometheusAfterMiddleware):
    """django-prometheus for browsers. Its series of latencies would have each method that a client invents."""

    def label_metric(self, metric: Any, request: HttpRequest, response: Any = None, **labels: str) -> Any:
        if "method" in labels:
            labels["method"] = self._method(request)
        return super().label_metric(metric, request, response, **labels)


class ApiMetricsMiddleware(PrometheusAfterMiddleware):
    """django-prometheus for the API, reduced to the used metrics: responses by status and latency, by view and method.

    All of its series (transport, charset, body sizes, each request before and after) cost a tenth of a payment.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        super().__init__(get_response)
        self._series: dict[tuple[int, str, str], tuple[Counter, Observations]] = {}

    def __call__(self, request: HttpRequest) -> HttpResponse:
        started = Time()
        response = self.get_response(request)
        # Private names of django-prometheus, as its own middleware labels a view and a method.
        labels = response.status_code, self._get_view_name(request), self._method(request)
        responses, latency = self._series.get(labels) or self._find(*labels)
        responses.inc()
        latency.observe(TimeSince(started))
        return response

    def _find(self, status: int, view: str, method: str) -> tuple[Counter, Observations]:
        responses = self.metrics.responses_by_status_view_method.labels(str(status), view, method)
        latency = Observations(self.metrics.requests_latency_by_view_method.labels(view, method))
        self._series[status, view, method] = responses, latency
        return responses, latency

    def process_view(self, request: HttpRequest, *view: Any, **options: Any) -> None:
        pass
