"""Webhook endpoints, events and deliveries in the REST API."""

import msgspec
from django.http import HttpResponse
from rest_framework.request import Request

from fintech.database.replica import from_replica
from fintech.http import pagination
from fintech.http.views import json_answer
from fintech.times import in_range
from payments import schemas
from payments.api import openapi
from payments.api.base import PaymentsView, find_one, read_input, read_optional_input
from payments.models import ApiKey, WebhookDelivery, WebhookEndpoint, WebhookEvent
from payments.serializers import serialize_delivery, serialize_endpoint, serialize_new_endpoint
from payments.webhooks import endpoints, redelivery
from payments.webhooks.objects import ALL_TYPES, serialize_events


def refuse_fields(request: Request) -> None:
    """Refuse fields for an operation that has none: what they ask for would be ignored.

    A client may send a body that is no JSON, such as an empty form.
    """
    if request.META.get("CONTENT_TYPE", "").partition(";")[0].strip().lower() == "application/json":
        read_optional_input(request, schemas.EmptyInput)


class EndpointsView(PaymentsView):
    @openapi.LIST_ENDPOINTS
    def get(self, request: Request) -> HttpResponse:
        principal = self.principal(request, ApiKey.Scope.READ)
        pagination.refuse_unknown(request._request.GET, {"cursor", "limit"})
        rows = WebhookEndpoint.objects.filter(merchant_id=principal.merchant_id)
        page, following = pagination.page_of(request._request, rows, "webhook endpoints")
        return json_answer(schemas.EndpointPage([serialize_endpoint(row) for row in page], following))

    @openapi.CREATE_ENDPOINT
    def post(self, request: Request) -> HttpResponse:
        principal = self.principal(request, ApiKey.Scope.WEBHOOKS)
        body = read_input(request, schemas.EndpointInput)
        endpoint, secret = endpoints.create_endpoint(
            merchant_id=principal.merchant_id,
            url=body.url,
            event_types=body.event_types,
            description=body.description,
            is_enabled=body.enabled,
        )
        location = {"Location": f"/v1/webhook-endpoints/{endpoint.pk}"}
        return json_answer(serialize_new_endpoint(endpoint, secret), 201, location)


class OneEndpointView(PaymentsView):
    def endpoint(self, request: Request, identifier: str, scope: ApiKey.Scope) -> WebhookEndpoint:
        rows = WebhookEndpoint.objects.filter(merchant_id=self.principal(request, scope).merchant_id)
        return find_one(rows, identifier, "endpoint")


class EndpointView(OneEndpointView):
    @openapi.RETRIEVE_ENDPOINT
    def get(self, request: Request, id: str) -> HttpResponse:
        endpoint = self.endpoint(request, id, ApiKey.Scope.READ)
        pagination.refuse_unknown(request._request.GET, ())
        return json_answer(serialize_endpoint(endpoint))

    @openapi.CHANGE_ENDPOINT
    def patch(self, request: Request, id: str) -> HttpResponse:
        endpoint = self.endpoint(request, id, ApiKey.Scope.WEBHOOKS)
        body = read_input(request, schemas.EndpointChange)
        changes = {name: value for name, value in msgspec.structs.asdict(body).items() if value is not msgspec.UNSET}
        if "enabled" in changes:
            changes["is_enabled"] = changes.pop("enabled")
        return json_answer(serialize_endpoint(endpoints.change_endpoint(endpoint, **changes)))


class SecretView(OneEndpointView):
    @openapi.ROTATE_SECRET
    def post(self, request: Request, id: str) -> HttpResponse:
        endpoint = self.endpoint(request, id, ApiKey.Scope.WEBHOOKS)
        refuse_fields(request)
        return json_answer(serialize_new_endpoint(endpoint, endpoints.rotate_secret(endpoint)), 201)


class TestView(OneEndpointView):
    @openapi.SEND_TEST_EVENT
    def post(self, request: Request, id: str) -> HttpResponse:
        endpoint = self.endpoint(request, id, ApiKey.Scope.WEBHOOKS)
        refuse_fields(request)
        event = redelivery.send_test_event(endpoint)
        return json_answer(serialize_events([event])[0], 202)


class RedeliverView(OneEndpointView):
    @openapi.REDELIVER
    def post(self, request: Request, id: str) -> HttpResponse:
        endpoint = self.endpoint(request, id, ApiKey.Scope.WEBHOOKS)
        body = read_input(request, schemas.RedeliveryInput)
        if body.event is not None:
            queued = redelivery.redeliver_event(endpoint, body.event)
        else:
            assert body.from_ is not None  # by RedeliveryInput.check
            assert body.before is not None
            begin, end = in_range(body.from_), in_range(body.before)
            queued = redelivery.redeliver_range(endpoint, begin, end)
        return json_answer(schemas.RedeliveryOutput(queued), 202)


class DeliveriesView(OneEndpointView):
    @openapi.LIST_DELIVERIES
    @from_replica
    def get(self, request: Request, id: str) -> HttpResponse:
        endpoint = self.endpoint(request, id, ApiKey.Scope.READ)
        query = request._request.GET
        pagination.refuse_unknown(query, {"status", "cursor", "limit"})
        rows = endpoint.deliveries.select_related("event").prefetch_related("attempts")
        unindexed = {}
        if "status" in query:
            status = pagination.read_choice("status", query["status"], WebhookDelivery.Status.values)
            if status == WebhookDelivery.Status.PENDING:  # these have an index
                rows = rows.filter(status=status)
            else:
                unindexed = {"status": status}
        name = f"webhook deliveries of {endpoint.pk}"
        page, following = pagination.page_of(request._request, rows, name, unindexed=unindexed)
        return json_answer(schemas.DeliveryPage([serialize_delivery(row) for row in page], following))


class EventsView(PaymentsView):
    @openapi.LIST_EVENTS
    @from_replica
    def get(self, request: Request) -> HttpResponse:
        principal = self.principal(request, ApiKey.Scope.READ)
        query = request._request.GET
        pagination.refuse_unknown(query, {"type", "cursor", "limit"})
        rows = WebhookEvent.objects.filter(merchant_id=principal.merchant_id).select_related("journal__transaction")
        unindexed = {}
        if "type" in query:
            unindexed = {"type": pagination.read_choice("type", query["type"], ALL_TYPES)}
        page, following = pagination.page_of(request._request, rows, "events", unindexed=unindexed)
        return json_answer(schemas.EventPage(serialize_events(page), following))


class EventView(PaymentsView):
    @openapi.RETRIEVE_EVENT
    def get(self, request: Request, id: str) -> HttpResponse:
        principal = self.principal(request, ApiKey.Scope.READ)
        pagination.refuse_unknown(request._request.GET, ())
        rows = WebhookEvent.objects.filter(merchant_id=principal.merchant_id).select_related("journal__transaction")
        return json_answer(serialize_events([find_one(rows, id, "event")])[0])
