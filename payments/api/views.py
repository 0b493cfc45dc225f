"""The REST API: thin views. REST framework authenticates and throttles, `payments.bodies` reads bodies."""

import re
import time
from collections.abc import Callable
from typing import Any, TypeVar
from uuid import UUID

from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import Throttled
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from fintech.cards import contains_card_number, strip_timestamps
from fintech.database.connections import query
from fintech.database.replica import from_replica
from fintech.http import pagination
from fintech.http.headers import is_joined
from fintech.http.identifiers import parse_uuid
from fintech.http.pagination import DEFAULT_LIMIT
from fintech.http.views import JsonView, has_body, json_answer, read_body
from payments import bodies, metrics, schemas
from payments.api import openapi
from payments.api.expansion import CAPTURES, NESTED_LIMIT, REFUNDS, Following, expand, read_expand
from payments.api.responses import batch_result, problem_of, reply_to
from payments.api.throttling import make_throttle
from payments.api.transaction_pages import transaction_page
from payments.api_keys import Principal, authenticate
from payments.errors import InvalidRequest, MalformedRequest, NotFound, PaymentError
from payments.fraud import score_payment
from payments.models import ApiKey, Archive, Event, Transaction, load_authentications
from payments.return_urls import check_return_host
from payments.serializers import serialize_entry, serialize_trial
from payments.services.batches import create_batch
from payments.services.captures import create_capture
from payments.services.charges import create_payment
from payments.services.refunds import create_refund
from payments.services.results import Result
from payments.services.reviews import decide_review
from payments.services.voids import create_void
from payments.velocity import try_payment

_KEY = re.compile(str(schemas.KEY_SCHEMA["pattern"]))
_throttle = make_throttle()

Row = TypeVar("Row", bound=Model)


class ApiKeyAuthentication(BaseAuthentication):
    def authenticate(self, request: Request) -> tuple[Principal, None]:
        principal = authenticate(request.META.get("HTTP_AUTHORIZATION"))
        request._request.log_fields["merchant"] = principal.merchant_id  # type: ignore[attr-defined]
        return principal, None

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"


class ApiKeyThrottle(BaseThrottle):
    """Count one request; a batch counts its other items after it has been read."""

    def allow_request(self, request: Request, view: Any) -> bool:
        self._wait = _throttle.take(request.user.key_id)  # type: ignore[union-attr]
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


def idempotency_key(request: HttpRequest) -> str:
    key = request.META.get("HTTP_IDEMPOTENCY_KEY", "")
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


class TransactionsView(PaymentsView):
    @openapi.LIST
    @from_replica
    def get(self, request: Request) -> HttpResponse:
        principal = self.principal(request, ApiKey.Scope.READ)
        wanted = read_expand(request._request.GET.get("expand"))
        rows, following = transaction_page(request._request, principal.merchant_id)
        load_authentications(rows)
        return json_answer(schemas.PaymentPage(expand(request._request, rows, wanted, NESTED_LIMIT), following))

    @openapi.CREATE
    def post(self, request: Request) -> HttpResponse:
        start = time.perf_counter()
        principal = self.principal(request, ApiKey.Scope.WRITE)
        key = idempotency_key(request)
        body = bodies.read(read_body(request._request), schemas.PaymentInput)
        outcome = create_payment(principal=principal, key=key, body=body)
        response = answer(request._request, outcome)
        if not outcome.is_replay:
            seconds = time.perf_counter() - start
            metrics.LATENCY.observe(seconds)
            metrics.OWN.observe(seconds - outcome.gateway_seconds)
        return response


class ShortNameView(TransactionsView):
    http_method_names = ["post", "options"]

    @openapi.CREATE_SHORT
    def post(self, request: Request) -> HttpResponse:
        return super().post(request)


class FraudTrialView(PaymentsView):
    @openapi.TRY_FRAUD
    def post(self, request: Request) -> HttpResponse:
        principal = self.principal(request, ApiKey.Scope.WRITE)
        body = bodies.read(read_body(request._request), schemas.PaymentInput)
        if body.return_url is not None:
            check_return_host(body.return_url, principal.return_hosts)
        verdict = score_payment(body, principal.fraud)
        if principal.fraud.velocity:
            verdict = query(try_payment, body, verdict, principal.fraud)
        return json_answer(serialize_trial(verdict, principal.fraud))


class TransactionView(PaymentsView):
    @openapi.RETRIEVE
    def get(self, request: Request, id: str) -> HttpResponse:
        principal = self.principal(request, ApiKey.Scope.READ)
        pagination.refuse_unknown(request._request.GET, {"expand"})
        wanted = read_expand(request._request.GET.get("expand"))
        payment = find_transaction(principal, id)
        (expanded,) = expand(request._request, [payment], wanted, DEFAULT_LIMIT)
        return json_answer(expanded)


def read_optional_body(request: HttpRequest) -> Any:
    return bodies.parse_json(read_body(request)) if has_body(request) else {}


class OperationsView(PaymentsView):
    # The operations of one kind on a payment. A docstring would be the description of each in the document.

    scope: str = ApiKey.Scope.WRITE  # of a new one

    def page(self, request: Request, id: str, following: Following) -> HttpResponse:
        payment = find_transaction(self.principal(request, ApiKey.Scope.READ), id)
        pagination.refuse_unknown(request._request.GET, {"cursor", "limit"})
        rows = following.rows(payment)
        return json_answer(following.page_of(*pagination.page_of(request._request, rows, following.name(payment.id))))

    def create(
        self,
        request: Request,
        id: str,
        create: Callable[..., Result],
        shape: type[schemas.Input],
        *,
        needs_body: bool = False,
    ) -> HttpResponse:
        principal = self.principal(request, self.scope)
        identifier = read_id(id)
        key = idempotency_key(request)
        raw = request._request
        body = bodies.read(read_body(raw), shape) if needs_body else bodies.parse(read_optional_body(raw), shape)
        outcome = create(merchant_id=principal.merchant_id, transaction_id=identifier, key=key, body=body)
        return answer(request._request, outcome)


class RefundsView(OperationsView):
    scope = ApiKey.Scope.REFUND

    @openapi.LIST_REFUNDS
    def get(self, request: Request, id: str) -> HttpResponse:
        return self.page(request, id, REFUNDS)

    @openapi.REFUND
    def post(self, request: Request, id: str) -> HttpResponse:
        return self.create(request, id, create_refund, schemas.RefundInput)


class CapturesView(OperationsView):
    @openapi.LIST_CAPTURES
    def get(self, request: Request, id: str) -> HttpResponse:
        return self.page(request, id, CAPTURES)

    @openapi.CAPTURE
    def post(self, request: Request, id: str) -> HttpResponse:
        return self.create(request, id, create_capture, schemas.CaptureInput)


class VoidView(OperationsView):
    @openapi.VOID
    def post(self, request: Request, id: str) -> HttpResponse:
        return self.create(request, id, create_void, schemas.VoidInput)


class ReviewView(OperationsView):
    scope = ApiKey.Scope.REVIEW

    @openapi.REVIEW
    def post(self, request: Request, id: str) -> HttpResponse:
        return self.create(request, id, decide_review, schemas.ReviewInput, needs_body=True)


class JournalView(PaymentsView):
    @openapi.LIST_JOURNAL
    def get(self, request: Request, id: str) -> HttpResponse:
        principal = self.principal(request, ApiKey.Scope.READ)
        payment = find_transaction(principal, id)
        pagination.refuse_unknown(request._request.GET, {"cursor", "limit"})
        rows = Event.objects.filter(transaction=payment)
        page, following = pagination.page_of(request._request, rows, f"events of {payment.id}", oldest_first=True)
        archived = Archive.objects.holding(payment.id).exists()
        return json_answer(schemas.JournalPage([serialize_entry(event) for event in page], following, archived))


class BatchView(PaymentsView):
    @openapi.BATCH
    def post(self, request: Request) -> HttpResponse:
        principal = self.principal(request, ApiKey.Scope.WRITE)
        body = read_body(request._request)
        items = items_of(bodies.parse_json(body))
        take_items(principal, len(items))
        results = create_batch(
            principal=principal, items=[read_item(item) for item in bodies.convert_items(items, body)]
        )
        request._request.log_fields["items"] = len(items)  # type: ignore[attr-defined]
        return json_answer(schemas.BatchOutput([batch_result(result) for result in results]))


def take_items(principal: Principal, number: int) -> None:
    """Count the items of a batch, except the one counted with the request."""
    wait = _throttle.take(principal.key_id, number - 1) if number > 1 else 0.0
    if wait:
        metrics.THROTTLED.inc()
        raise Throttled(wait)


def items_of(data: Any) -> list[Any]:
    if not isinstance(data, dict) or set(data) != {"items"} or not isinstance(data["items"], list):
        raise InvalidRequest("invalid_value", 'Send {"items": [...]}.', param="items")
    if not 1 <= len(data["items"]) <= schemas.MAX_BATCH:
        raise InvalidRequest("invalid_value", f"Send 1 to {schemas.MAX_BATCH} items.", param="items")
    return data["items"]


def read_item(data: Any) -> schemas.BatchItem | PaymentError:
    try:
        if isinstance(data, schemas.BatchItem):
            item = data
            item.check()
        else:
            item = bodies.parse(data, schemas.BatchItem, is_plain=bodies.is_plain_data(data))
        check_key(item.idempotency_key, "idempotency_key")
    except PaymentError as refusal:
        if refusal.param == "idempotency_key" and refusal.code != "card_number":  # as for a single payment's header
            kind = "missing" if refusal.code == "missing_field" else "invalid"
            return MalformedRequest(f"{kind}_idempotency_key", refusal.detail, param=refusal.param)
        return refusal
    return item
