"""Middleware: browser security headers, and metrics of API requests."""

from typing import Any

from csp.middleware import CSPMiddleware
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django_prometheus.middleware import PrometheusAfterMiddleware
from django_prometheus.utils import Time, TimeSince


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
