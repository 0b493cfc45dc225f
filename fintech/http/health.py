"""Liveness, readiness, and the metrics on the web's own port."""

import hmac
from collections.abc import Callable
from functools import wraps

from django.conf import settings
from django.db import connections
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, HttpResponse, JsonResponse
from prometheus_client import CONTENT_TYPE_LATEST

from fintech.errors import DATABASE_ERRORS
from fintech.http.problems import problem
from fintech.server import draining
from fintech.telemetry import clock, host_registry
from fintech.telemetry.metric_slots import render

_migrated = False
View = Callable[[HttpRequest], HttpResponse]


def safe_methods(view: View) -> View:
    @wraps(view)
    def guarded(request: HttpRequest) -> HttpResponse:
        if request.method not in ("GET", "HEAD"):
            detail = f"{request.method} is not allowed here. Use GET."
            return problem(405, "method_not_allowed", detail, headers={"Allow": "GET, HEAD"})
        return view(request)

    return guarded


@safe_methods
def health(request: HttpRequest) -> HttpResponse:
    """Answer that the process is alive. An unavailable database is no reason to restart the web."""
    return JsonResponse({"status": "ok"})


@safe_methods
def ready(request: HttpRequest) -> HttpResponse:
    """Answer that the database is available, its schema is current, and nothing keeps this host from serving."""
    global _migrated  # noqa: PLW0603 - migrations are never taken back under a running process
    if draining.is_draining():
        return problem(503, "draining", "This host stops soon, and still answers until then.")
    try:
        with connections["default"].cursor() as cursor:
            cursor.execute("SELECT 1")
        if not _migrated:
            executor = MigrationExecutor(connections["default"])
            pending = executor.migration_plan(executor.loader.graph.leaf_nodes())
            if pending:
                names = ", ".join(str(migration) for migration, _ in pending[:3])
                return problem(503, "not_migrated", f"Migrations are missing: {names}. Run manage.py migrate.")
            _migrated = True
    except DATABASE_ERRORS:
        return problem(503, "database_unavailable", "The database does not answer.")
    if clock.is_skewed():
        return problem(503, "clock_skewed", "This host's clock is more than 5 seconds off the database's.")
    if host_registry.is_refused():
        return problem(503, "epoch_held", "Another host counts in metrics files that are a copy of this host's.")
    return JsonResponse({"status": "ready", "database": "ok", "migrations": "ok"})


@safe_methods
def metrics(request: HttpRequest) -> HttpResponse:
    """Return the metrics to a scraper that cannot reach the internal port 9464; requires METRICS_TOKEN."""
    if settings.METRICS_TOKEN != "open":  # noqa: S105 - the word that opens the metrics
        sent = request.META.get("HTTP_AUTHORIZATION", "").encode()
        if not hmac.compare_digest(sent, f"Bearer {settings.METRICS_TOKEN}".encode()):
            headers = {"WWW-Authenticate": "Bearer"}
            return problem(401, "unauthorized", "Send Authorization: Bearer <metrics token>.", headers=headers)
    return HttpResponse(render("web"), content_type=CONTENT_TYPE_LATEST)
