"""Payments and the operations that follow them in the REST API: thin views."""

import time
from collections.abc import Callable

from django.http import HttpResponse
from rest_framework.request import Request

from fintech.database.connections import query
from fintech.database.replica import from_replica
from fintech.http import pagination
from fintech.http.pagination import DEFAULT_LIMIT
from fintech.http.views import json_answer
from payments import metrics, schemas
from payments.api import openapi
from payments.api.base import (
    PaymentsView,
    answer,
    find_transaction,
    idempotency_key,
    read_id,
    read_input,
    read_optional_input,
)
from payments.api.expansion import CAPTURES, NESTED_LIMIT, REFUNDS, Following, expand, read_expand
from payments.api.transaction_pages import transaction_page
from payments.fraud.rules import score_payment
from payments.fraud.velocity import try_payment
from payments.models import ApiKey, Archive, Event, load_authentications
from payments.return_urls import check_return_host
from payments.serializers import serialize_entry, serialize_trial
from payments.services.captures import create_capture
from payments.services.charges import create_payment
from payments.services.refunds import create_refund
from payments.services.results import Result
from payments.services.reviews import decide_review
from payments.services.voids import create_void


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
        body = read_input(request, schemas.PaymentInput)
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
        body = read_input(request, schemas.PaymentInput)
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
        body = read_input(request, shape) if needs_body else read_optional_input(request, shape)
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
