"""The base of our REST views: REST framework without the parts that cost every request time and that none uses.

`payments.bodies` reads bodies and msgspec encodes answers, so there are no parsers, renderers or content negotiation.
Authentication, throttling, errors and the schema are REST framework's.
"""

from typing import Any, NoReturn

import msgspec
from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest, HttpResponse
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.views import APIView

from fintech.http.problems import Problem
from fintech.response_headers import set_plain

_ALLOW: dict[type, str] = {}  # by view: it cannot change
_NEGOTIATION = DefaultContentNegotiation()
_encoder = msgspec.json.Encoder(uuid_format="canonical")


def json_answer(content: Any, status: int = 200, headers: dict[str, str] | None = None) -> HttpResponse:
    return HttpResponse(_encoder.encode(content), status=status, content_type="application/json", headers=headers)


def attachment(content: Any, name: str, content_type: str) -> HttpResponse:
    """Return a file to download."""
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return HttpResponse(content, content_type=content_type, headers=headers)


class JsonView(APIView):
    renderer_classes = [JSONRenderer]  # for the schema; `json_answer` creates the responses

    def __init_subclass__(cls) -> None:
        """Answer HEAD by `get`. Django would store the method in each view, which then refers to itself."""
        if "get" in vars(cls) and "head" not in vars(cls):
            cls.head = cls.get  # type: ignore[attr-defined]

    def initialize_request(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Request:
        made = Request(request, authenticators=self.get_authenticators(), negotiator=_NEGOTIATION)
        # Parsers would use it, and there are none. A request that refers to itself waits for the garbage collector.
        del made.parser_context["request"]
        return made

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """The same steps as in REST framework, without the choice of a renderer and a version."""
        self.perform_authentication(request)
        self.check_permissions(request)
        self.check_throttles(request)

    @property
    def default_response_headers(self) -> dict[str, str]:
        allow = _ALLOW.get(type(self))
        if allow is None:
            allow = _ALLOW[type(self)] = ", ".join(self.allowed_methods)
        return {"Allow": allow}

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        """Add `Allow`. REST framework's own also renders its responses, and this API has none of them."""
        for name, value in self.headers.items():
            set_plain(response, name, value)
        return response

    def options(self, request: Request, *args: Any, **kwargs: Any) -> HttpResponse:  # type: ignore[override]
        return HttpResponse(status=204)  # `finalize_response` adds `Allow`

    def http_method_not_allowed(self, request: Request, *args: Any, **kwargs: Any) -> NoReturn:  # type: ignore[override]
        detail = f"{request.method} is not allowed here. Use {', '.join(self.allowed_methods)}."
        raise Problem(405, "method_not_allowed", detail, headers={"Allow": ", ".join(self.allowed_methods)})


def has_body(request: HttpRequest) -> bool:
    return request.META.get("CONTENT_LENGTH") not in (None, "", "0") or "HTTP_TRANSFER_ENCODING" in request.META


def read_body(request: HttpRequest) -> bytes:
    """Return the body of a JSON request. Raise Problem: 400, 411, 413, 415, or 503 if the server could not store it."""
    if request.META.get("HTTP_TRANSFER_ENCODING"):
        raise Problem(411, "length_required", "Send the body with a Content-Length.")
    length = int(request.META.get("CONTENT_LENGTH") or 0)  # the server has checked it
    if length > settings.DATA_UPLOAD_MAX_MEMORY_SIZE:
        raise RequestDataTooBig
    refuse_other_content(request)
    try:
        # Not `request.body`, which keeps a copy for forms and costs more than reading.
        body: bytes = request.META["wsgi.input"].read(length)
    except OSError:
        body = b""
    if len(body) < length:
        raise Problem(400, "incomplete_body", "The body is shorter than its Content-Length.")
    return body


def refuse_other_content(request: HttpRequest) -> None:
    content_type = request.META.get("CONTENT_TYPE", "")
    if content_type.partition(";")[0].strip().lower() != "application/json":
        raise Problem(415, "unsupported_media_type", "Send the body as application/json.")
    if request.META.get("HTTP_CONTENT_ENCODING", "identity") != "identity":
        raise Problem(415, "unsupported_content_encoding", "Send the body uncompressed.")
