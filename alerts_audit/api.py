"""`POST /alert`: Alertmanager's webhook.

Alertmanager takes any 2xx for success, repeats after a 5xx, and gives a 4xx one attempt. So whatever an
authorized sender sends is kept and answered with 200, readable or not; while the database is away the answer
is 503.
"""

import hmac
import logging

import psycopg
from django.conf import settings
from django.core.handlers.wsgi import WSGIRequest
from django.http import HttpResponse, JsonResponse
from django.views.decorators.csrf import csrf_exempt

from alerts_audit import metrics
from alerts_audit.body import LIMIT, BodyIncomplete, BodyTooLarge, read_body
from alerts_audit.services import record_delivery
from fintech.logging import request_id
from fintech.problems import problem

logger = logging.getLogger("alerts_audit")

SOURCE = "alertmanager"  # who holds ALERT_TOKEN


@csrf_exempt
def receive_alert(request: WSGIRequest) -> HttpResponse:
    if request.method != "POST":
        return problem(405, "method_not_allowed", "Alerts are POSTed here.", headers={"Allow": "POST"})
    if not is_authorized(request):
        return refuse("unauthorized", 401, "This needs the bearer token of a known source.")
    try:
        delivery = record_delivery(
            source=SOURCE,
            body=read_body(request.environ),
            content_type=request.META.get("CONTENT_TYPE"),
            content_encoding=request.META.get("HTTP_CONTENT_ENCODING"),
            request_id=request_id.get(),
        )
    except BodyTooLarge as error:
        logger.error("alert_too_large", extra={"size": error.size, "limit": LIMIT})
        return refuse("too_large", 413, f"The body is larger than {LIMIT} bytes.")
    except BodyIncomplete as error:
        # 503, because the sender should try again.
        logger.warning("alert_incomplete", extra={"reason": str(error)})
        return refuse("incomplete", 503, "The body did not arrive as a whole.")
    except psycopg.Error:
        logger.exception("alert_not_stored")
        return refuse("unavailable", 503, "The alert could not be stored. Send it again.")
    return JsonResponse({"id": delivery.pk, "sha256": delivery.sha256.hex()})


def is_authorized(request: WSGIRequest) -> bool:
    scheme, _, token = request.META.get("HTTP_AUTHORIZATION", "").partition(" ")
    same = hmac.compare_digest(token.strip().encode(), settings.ALERT_TOKEN.encode())
    return same and scheme.lower() == "bearer"


def refuse(outcome: str, status: int, detail: str) -> HttpResponse:
    metrics.DELIVERIES.labels(outcome).inc()
    headers = {401: {"WWW-Authenticate": "Bearer"}, 503: {"Retry-After": "1"}}
    return problem(status, f"alert_{outcome}", detail, headers=headers.get(status))
