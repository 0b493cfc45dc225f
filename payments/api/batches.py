"""Batches in the REST API."""

from typing import Any

from django.http import HttpResponse
from rest_framework.exceptions import Throttled
from rest_framework.request import Request

from fintech.http.views import json_answer, read_body
from payments import bodies, metrics, schemas
from payments.api import openapi
from payments.api.base import PaymentsView, check_key, throttle
from payments.api.responses import batch_result
from payments.api_keys import Principal
from payments.errors import InvalidRequest, MalformedRequest, PaymentError
from payments.models import ApiKey
from payments.services.batches import create_batch


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
    wait = throttle.take(principal.key_id, number - 1) if number > 1 else 0.0
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
