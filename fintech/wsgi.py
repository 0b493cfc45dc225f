"""The WSGI application: one handler for browsers, a lean one for the API.

Sessions, CSRF, messages and the rest take a tenth of a request's time, and the API uses none of them. Each path has
exactly one handler; `manage.py check --deploy` and the tests see the full list, `settings.MIDDLEWARE`.
"""

import logging
import os
import threading
import time
from collections.abc import Iterable
from typing import Any
from wsgiref.types import StartResponse, WSGIEnvironment

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "fintech.settings")

import django
from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler, WSGIRequest
from django.urls import get_resolver
from django.utils.http import parse_header_parameters

django.setup(set_prefix=False)

from fintech.http.problems import DATABASE_ERRORS  # noqa: E402 - after setup

logger = logging.getLogger("fintech")

# The trail's API accepts the admin's cookie as well as a token.
BROWSER_PATHS = ("/admin/", "/static/", "/v1/docs", "/v1/alerts/")


class Utf8Request(WSGIRequest):
    """A request with queries and forms in UTF-8. A client may name any charset, and some cannot decode text."""

    def _set_content_type_params(self, meta: dict[str, Any]) -> None:
        self.content_type, self.content_params = parse_header_parameters(meta.get("CONTENT_TYPE", ""))


class BrowserHandler(WSGIHandler):
    request_class = Utf8Request


class ApiHandler(WSGIHandler):
    request_class = Utf8Request

    def load_middleware(self, is_async: bool = False) -> None:
        full, settings.MIDDLEWARE = settings.MIDDLEWARE, settings.API_MIDDLEWARE
        try:
            super().load_middleware(is_async)
        finally:
            settings.MIDDLEWARE = full


_browser, _api = BrowserHandler(), ApiHandler()


def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    path = environ.get("PATH_INFO", "")
    handler = _browser if path.startswith(BROWSER_PATHS) else _api
    return handler(environ, start_response)


WARM_UP_SECONDS = 5


def warm_up() -> None:
    """Prepare a worker before its first request, then in its own thread: after a crash or a lost connection its
    counters are set from the rows, even without another payment.
    """
    build_shared()
    set_counters()
    threading.Thread(target=_keep_warm, name="writer", daemon=True).start()


def build_shared() -> None:
    """Build the routes and the OpenAPI document by one thread; requests would race for them."""
    from payments.api.openapi import document

    get_resolver()._populate()
    document()


def set_counters() -> None:
    from payments.settlement.group_commit import writer

    try:
        writer.warm_up()
    except Exception as error:  # retried soon; `/ready` reports the problem
        trace = None if isinstance(error, DATABASE_ERRORS) else error
        logger.warning("warm_up_failed", exc_info=trace, extra={"error": type(error).__name__})


def _keep_warm() -> None:
    while True:
        time.sleep(WARM_UP_SECONDS)
        set_counters()
