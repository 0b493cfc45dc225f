"""`POST /alert`: Alertmanager's webhook.

Alertmanager treats any 2xx as success, retries after a 5xx, and does not retry after a 4xx. So any body of an
authorized sender is stored and answered with 200, readable or not. While the database is unavailable the answer is 503.
"""

import logging

import psycopg
from django.core.handlers.wsgi import WSGIRequest
from django.db import Error as DatabaseTrouble
from django.http import HttpResponse, JsonResponse
from django.views.decorators.csrf import csrf_exempt

from alerts_audit.models import Delivery
from alerts_audit.sources import metrics
from alerts_audit.sources.tokens import find_source, visible_part
from alerts_audit.webhook.background import schedule_projection
from alerts_audit.webhook.recorder import SourceInactive
from alerts_audit.webhook.request_body import BodyIncomplete, read_body
from alerts_audit.webhook.services import record_delivery
from fintech.http.problems import problem
from fintech.telemetry.logging import request_id, trace_id

logger = logging.getLogger("alerts_audit")


@csrf_exempt
def receive_alert(request: WSGIRequest) -> HttpResponse:
    if request.method != "POST":
        return problem(405, "method_not_allowed", "Use POST to send alerts.", headers={"Allow": "POST"})
    try:
        source = find_source(request.META.get("HTTP_AUTHORIZATION", ""))
    except (DatabaseTrouble, psycopg.Error):
        logger.exception("alert_source_unknown")
        return refuse("unavailable", 503, "The token cannot be checked now. Send the alert again.")
    return refuse_sender(request) if source is None else receive_from(source, request)


def receive_from(source: str, request: WSGIRequest) -> HttpResponse:
    try:
        delivery = store(source, request)
    except SourceInactive:
        return refuse_sender(request)
    except BodyIncomplete as error:
        # 503, because the sender should try again.
        logger.warning("alert_incomplete", extra={"source": source, "reason": str(error)})
        return refuse("incomplete", 503, "The body is incomplete.", source)
    except Exception:  # in any case it is not certain that it is stored, and the sender retries
        logger.exception("alert_not_stored", extra={"source": source})
        return refuse("unavailable", 503, "The alert could not be stored. Send it again.", source)
    schedule_projection(delivery)
    answer = {"id": delivery.pk, "sha256": delivery.sha256.hex()}
    return JsonResponse(answer if delivery.complete else {**answer, "complete": False})


def store(source: str, request: WSGIRequest) -> Delivery:
    body = read_body(request.environ)
    return record_delivery(
        source=source,
        body=body.kept,
        size=body.size,
        sha256=body.sha256,
        content_type=request.META.get("CONTENT_TYPE"),
        content_encoding=request.META.get("HTTP_CONTENT_ENCODING"),
        request_id=request_id.get(),
        trace_id=trace_id.get(),
    )


def refuse_sender(request: WSGIRequest) -> HttpResponse:
    token = visible_part(request.META.get("HTTP_AUTHORIZATION", ""))
    logger.warning("alert_unauthorized", extra={"client": request.META.get("REMOTE_ADDR"), "token": token})
    return refuse("unauthorized", 401, "A bearer token of an active source is required.")


def refuse(outcome: str, status: int, detail: str, source: str = "") -> HttpResponse:
    metrics.DELIVERIES.labels(source, outcome).inc()
    headers = {401: {"WWW-Authenticate": "Bearer"}, 503: {"Retry-After": "1"}}
    return problem(status, f"alert_{outcome}", detail, headers=headers.get(status))
