"""Disputes in the REST API."""

from typing import Any
from uuid import UUID

import msgspec
from django.http import HttpResponse
from rest_framework.request import Request

from fintech.database.replica import from_replica
from fintech.http import pagination
from fintech.http.identifiers import parse_uuid
from fintech.http.views import json_answer
from payments import schemas
from payments.api import openapi
from payments.api.base import PaymentsView, find_one, read_id, read_input, read_optional_input
from payments.api.expansion import DISPUTES
from payments.api_keys import Principal
from payments.models import ApiKey, Dispute
from payments.serializers import serialize_dispute_detail
from payments.services.disputes import accept_dispute, submit_evidence


def detail_of(principal: Principal, identifier: str, *, is_replay: bool = False) -> HttpResponse:
    rows = Dispute.objects.filter(merchant_id=principal.merchant_id).select_related("transaction")
    found = find_one(rows.prefetch_related("responses"), identifier, "dispute")
    headers = {"Idempotency-Replayed": "true"} if is_replay else {}
    return json_answer(serialize_dispute_detail(found), 200, headers)


class DisputesView(PaymentsView):
    @openapi.LIST_DISPUTES
    @from_replica
    def get(self, request: Request) -> HttpResponse:
        principal = self.principal(request, ApiKey.Scope.READ)
        query = request._request.GET
        pagination.refuse_unknown(query, {"status", "transaction", "cursor", "limit"})
        rows = Dispute.objects.filter(merchant_id=principal.merchant_id).select_related("transaction")
        if "status" in query:
            rows = rows.filter(status=pagination.read_choice("status", query["status"], Dispute.Status.values))
        if "transaction" in query:
            rows = rows.filter(transaction_id=_read_transaction(query["transaction"]))
        return json_answer(DISPUTES.page_of(*pagination.page_of(request._request, rows, DISPUTES.list_name)))


def _read_transaction(value: str) -> UUID:
    found = parse_uuid(value)
    if found is None:
        raise pagination.invalid("transaction", "use the id of a transaction")
    return found


class DisputeView(PaymentsView):
    @openapi.RETRIEVE_DISPUTE
    def get(self, request: Request, id: str) -> HttpResponse:
        principal = self.principal(request, ApiKey.Scope.READ)
        pagination.refuse_unknown(request._request.GET, ())
        return detail_of(principal, id)


class EvidenceView(PaymentsView):
    @openapi.SUBMIT_EVIDENCE
    def post(self, request: Request, id: str) -> HttpResponse:
        principal = self.principal(request, ApiKey.Scope.REFUND)
        identifier = read_id(id, "dispute")
        body = read_input(request, schemas.EvidenceInput)
        files: list[dict[str, Any]] = [msgspec.structs.asdict(file) for file in body.files]
        done = submit_evidence(merchant_id=principal.merchant_id, dispute_id=identifier, text=body.text, files=files)
        return detail_of(principal, id, is_replay=done.is_replay)


class AcceptView(PaymentsView):
    @openapi.ACCEPT_DISPUTE
    def post(self, request: Request, id: str) -> HttpResponse:
        principal = self.principal(request, ApiKey.Scope.REFUND)
        identifier = read_id(id, "dispute")
        read_optional_input(request, schemas.EmptyInput)
        done = accept_dispute(merchant_id=principal.merchant_id, dispute_id=identifier)
        return detail_of(principal, id, is_replay=done.is_replay)
