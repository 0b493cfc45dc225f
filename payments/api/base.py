"""The common parts of the API's views: who calls, how often, the key and the body of the request, and its rows."""

import re
from typing import Any, TypeVar
from uuid import UUID

from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse
from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from fintech.cards import contains_card_number, strip_timestamps
from fintech.http.headers import is_joined
from fintech.http.identifiers import parse_uuid
from fintech.http.views import JsonView, has_body, json_answer, read_body
from payments import bodies, metrics, schemas
from payments.api.responses import problem_of, reply_to
from payments.api.throttling import make_throttle
from payments.api_keys import Principal, authenticate
from payments.errors import InvalidRequest, MalformedRequest, NotFound, PaymentError
from payments.models import Transaction
from payments.services.results import Result

_KEY = re.compile(str(schemas.KEY_SCHEMA["pattern"]))
throttle = make_throttle()

Row = TypeVar("Row", bound=Model)


class ApiKeyAuthentication(BaseAuthentication):
    def authenticate(self, request: Request) -> tuple[Principal, None]:
        principal = authenticate(request._request.META.get("HTTP_AUTHORIZATION"))
        request._request.log_fields["merchant"] = principal.merchant_id  # type: ignore[attr-defined]
        return principal, None

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"


class ApiKeyThrottle(BaseThrottle):
    """Count one request; a batch counts its other items after it has been read."""

    def allow_request(self, request: Request, view: Any) -> bool:
        self._wait = throttle.take(request.user.key_id)  # type: ignore[union-attr]
        if self._wait:
            metrics.THROTTLED.inc()
        return not self._wait

    def wait(self) -> float:
        return self._wait


class PaymentsView(JsonView):
    authentication_classes = [ApiKeyAuthentication]
    throttle_classes = [ApiKeyThrottle]

    def handle_exception(self, exc: Exception) -> Any:
        return super().handle_exception(problem_of(exc) if isinstance(exc, PaymentError) else exc)

    @staticmethod
    def principal(request: Request, scope: str) -> Principal:
        """Return the caller. Raises PermissionDenied unless its key has `scope`."""
        principal = request.user
        assert isinstance(principal, Principal)
        principal.require(scope)
        return principal


def idempotency_key(request: Request) -> str:
    key = request._request.META.get("HTTP_IDEMPOTENCY_KEY", "")
    if not key:
        raise MalformedRequest("missing_idempotency_key", "Send an Idempotency-Key header.", param="Idempotency-Key")
    check_key(key, "Idempotency-Key")
    if contains_card_number(strip_timestamps(key)):
        detail = "Card numbers are not allowed: use a random key, such as a UUID."
        raise InvalidRequest("card_number", detail, param="Idempotency-Key")
    return key


def check_key(key: str, param: str) -> None:
    if is_joined(key):
        detail = f"This is one key, repeated and joined with commas: send {param} once."
        raise MalformedRequest("repeated_header", detail, param=param)
    if not _KEY.fullmatch(key):
        detail = "An idempotency key is 1 to 255 visible ASCII characters."
        raise MalformedRequest("invalid_idempotency_key", detail, param=param)


def read_input(request: Request, shape: type[bodies.Shape]) -> bodies.Shape:
    """Return the body as a `shape`. Raises Problem, MalformedRequest or InvalidRequest."""
    return bodies.read(read_body(request._request), shape)


def read_optional_input(request: Request, shape: type[bodies.Shape]) -> bodies.Shape:
    """Return the same; without a body, a `shape` of its defaults."""
    data = bodies.parse_json(read_body(request._request)) if has_body(request._request) else {}
    return bodies.parse(data, shape)


def read_id(value: str, what: str = "transaction") -> UUID:
    """Raises NotFound unless the value has the form of our ids."""
    found = parse_uuid(value)
    if found is None:
        raise NotFound(what)
    return found


def find_one(rows: QuerySet[Row], identifier: str, what: str) -> Row:
    """Return one of the merchant's rows. Raises NotFound, also for the id of another merchant's."""
    found = rows.filter(pk=read_id(identifier, what)).first()
    if found is None:
        raise NotFound(what)
    return found


def find_transaction(principal: Principal, identifier: str) -> Transaction:
    return find_one(Transaction.objects.for_merchant(principal.merchant_id), identifier, "transaction")


def answer(request: HttpRequest, outcome: Result) -> HttpResponse:
    reply = reply_to(outcome)
    request.log_fields["transaction"] = str(getattr(reply.body, "transaction", reply.body.id))  # type: ignore[attr-defined]
    request.log_fields["status"] = reply.body.status  # type: ignore[attr-defined]
    return json_answer(reply.body, reply.status_code, reply.headers)
