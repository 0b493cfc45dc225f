"""Events of the gateways: each path answers 200 once an event is stored, also for one that was stored before."""

import logging
from datetime import datetime

from django.conf import settings
from django.http import HttpResponse
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request

from fintech.http.problems import Problem
from fintech.http.views import JsonView, json_answer, read_body
from payments import metrics
from payments.gateway.registry import STRIPE
from payments.gateway_events.inbox import store_event
from payments.gateway_events.signature import WrongSignature, verify, verify_stripe
from payments.gateway_events.stripe import identify

logger = logging.getLogger("payments.gateway_events")

MAX_BODY_BYTES = 64 * 1024


class GatewayEventsView(JsonView):
    gateway = settings.GATEWAY_NAME

    def verify(self, request: Request, body: bytes) -> tuple[str, datetime]:
        """Return the event's id and the time at which it was sent. Raise WrongSignature."""
        return verify(settings.GATEWAY_WEBHOOK_SECRET, request.META, body, now=timezone.now())

    @extend_schema(exclude=True)  # for the gateway, not for merchants: docs/gateway.md
    def post(self, request: Request) -> HttpResponse:
        body = read_body(request._request)
        if len(body) > MAX_BODY_BYTES:
            metrics.GATEWAY_EVENTS_RECEIVED.labels("refused").inc()
            raise Problem(413, "body_too_large", f"The body is larger than {MAX_BODY_BYTES // 1024} KiB.")
        try:
            identifier, sent_at = self.verify(request, body)
        except WrongSignature as error:
            metrics.GATEWAY_EVENTS_RECEIVED.labels("refused").inc()
            logger.warning("gateway_event_refused", extra={"reason": str(error), "client": request.META["REMOTE_ADDR"]})
            raise Problem(401, "invalid_signature", str(error)) from None
        is_new = store_event(gateway=self.gateway, identifier=identifier, sent_at=sent_at, body=body)
        metrics.GATEWAY_EVENTS_RECEIVED.labels("stored" if is_new else "duplicate").inc()
        return json_answer({"id": identifier, "duplicate": not is_new})


class StripeEventsView(GatewayEventsView):
    gateway = STRIPE

    def verify(self, request: Request, body: bytes) -> tuple[str, datetime]:
        sent_at = verify_stripe(settings.STRIPE_WEBHOOK_SECRET, request.META, body, now=timezone.now())
        return identify(body), sent_at
