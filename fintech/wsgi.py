"""The WSGI application: one handler for browsers, a lean one for the API.

Sessions, CSRF, messages and the rest take a tenth of a request's time, and the API uses none of them. Each path has
exactly one handler; `manage.py check --deploy` and the tests see the full list, `settings.MIDDLEWARE`.
"""

import os
from collections.abc import Iterable
from functools import cache
from typing import Any
from wsgiref.types import StartResponse, WSGIEnvironment

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "fintech.settings")

import django
from django.apps import apps
from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler, WSGIRequest
from django.http import HttpRequest
from django.http.multipartparser import MultiPartParserError
from django.urls import ResolverMatch, get_resolver, resolve
from django.utils.http import parse_header_parameters

if settings.POOLED_DATABASE is not None:
    settings.DATABASES["session"] = settings.DATABASES["default"]  # used by open_connection
    settings.DATABASES["default"] = settings.POOLED_DATABASE
django.setup(set_prefix=False)

from fintech.server import cooperation  # noqa: E402 - after setup
from fintech.server.lanes import LOOP_PATHS  # noqa: E402 - after setup

# The trail's API accepts the admin's cookie as well as a token.
BROWSER_PATHS = ("/admin/", "/static/", "/v1/docs", "/v1/alerts/")


# What Python's reader of header parameters raises for an unknown charset or a contradiction (RFC 2231).
MALFORMED_PARAMETERS = (ValueError, TypeError)


class Utf8Request(WSGIRequest):
    """A request with queries and forms in UTF-8. A client may name any charset, and some cannot decode text."""

    def _set_content_type_params(self, meta: dict[str, Any]) -> None:
        header = meta.get("CONTENT_TYPE", "")
        try:
            self.content_type, self.content_params = parse_header_parameters(header)
        except MALFORMED_PARAMETERS:  # most views read none, and an alert is stored whatever its sender calls it
            self.content_type, self.content_params = header.partition(";")[0].strip().lower(), {}

    def parse_file_upload(self, META: Any, post_data: Any) -> Any:
        """Parse a form. Django reads the same parameters again, and those of each part."""
        try:
            return super().parse_file_upload(META, post_data)
        except MALFORMED_PARAMETERS as error:
            raise MultiPartParserError("A header of the form has malformed parameters.") from error


class BrowserHandler(WSGIHandler):
    request_class = Utf8Request


class LoopRequest(Utf8Request):
    """A request on the loop: its path is one of a few, and its body is complete and read once, by the view."""

    def __init__(self, environ: WSGIEnvironment) -> None:
        self.environ = self.META = environ
        self.path = self.path_info = environ["PATH_INFO"]
        self.method = environ["REQUEST_METHOD"]
        self.content_type, self.content_params = None, None
        self.resolver_match = None


class ApiHandler(WSGIHandler):
    request_class = Utf8Request

    def load_middleware(self, is_async: bool = False) -> None:
        full, settings.MIDDLEWARE = settings.MIDDLEWARE, settings.API_MIDDLEWARE
        try:
            super().load_middleware(is_async)
        finally:
            settings.MIDDLEWARE = full

    _middleware_chain: Any

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Any:
        """Handle a request on the loop without Django's signals, which open, check and close a thread's connections."""
        if not cooperation.on_loop():
            return super().__call__(environ, start_response)
        response = self._middleware_chain(LoopRequest(environ))
        # The private mapping of Django's headers: reading them by their names costs as much as checking them.
        start_response(f"{response.status_code} {response.reason_phrase}", list(response.headers._store.values()))
        return [response.content]

    def resolve_request(self, request: HttpRequest) -> ResolverMatch:
        if request.path_info not in LOOP_PATHS:
            return super().resolve_request(request)
        request.resolver_match = _resolve(request.path_info)
        return request.resolver_match


@cache
def _resolve(path: str) -> ResolverMatch:
    """Return the cached resolution of a path, which Django computes again for each request."""
    return resolve(path)


_browser, _api = BrowserHandler(), ApiHandler()


def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    path = environ.get("PATH_INFO", "")
    handler = _browser if path.startswith(BROWSER_PATHS) else _api
    return handler(environ, start_response)


def warm_up() -> None:
    """Prepare a worker process before its first request: the routes, and what each app prepares (`start_web`)."""
    get_resolver()._populate()  # by one thread; requests would race for it
    for config in apps.get_app_configs():
        if start_web := getattr(config, "start_web", None):
            start_web()
