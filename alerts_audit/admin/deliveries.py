"""Deliveries: the received bodies, byte for byte, and the reasons of quarantined ones."""

import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import orjson
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.decorators import display

from alerts_audit import payload
from alerts_audit.admin.access_logged import ProvableAdmin
from alerts_audit.models import READABLE_IN_LISTS, Archive, Delivery, DeliveryQuerySet, Envelope, Source
from alerts_audit.selectors.episode_detail import get_archives
from fintech.adminsite.changelists import start_of_page
from fintech.adminsite.display import column, show_badge, show_time
from fintech.adminsite.filters import ChoiceFilter
from fintech.http.views import attachment

# Longer bodies are offered as a download only.
MAX_SHOWN = 256 * 1024
COLOURS = {
    "firing": "danger",
    "resolved": "success",
    "unreadable": "warning",
    "quarantined": "warning",
    "large": "info",
}
CONTROL_CHARACTERS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


class ReadFilter(ChoiceFilter):
    """A filter by the index of quarantined deliveries, which are few."""

    title = "how it was read"
    parameter_name = "read"
    offered = [("quarantined", "quarantined: cannot be parsed"), ("partial", "partial: too large to store completely")]

    def narrow(self, request: HttpRequest, queryset: QuerySet[Any], value: str) -> QuerySet[Any]:
        if value == "partial":
            return queryset.filter(kept_sha256__isnull=False)
        rows = Envelope.objects.filter(error__isnull=False)
        before = start_of_page(request, Delivery)
        if before is not None:
            rows = rows.filter(pk__lt=before)
        newest = rows.order_by("-pk").values_list("pk", flat=True)[: DeliveryAdmin.list_per_page + 1]
        return queryset.filter(pk__in=list(newest))


class SourceFilter(ChoiceFilter):
    title = parameter_name = "source"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(name, name) for name in Source.objects.values_list("name", flat=True)[:200]]


@admin.register(Delivery)
class DeliveryAdmin(ProvableAdmin):
    list_display = ["received", "status", "alerts", "receiver", "source", "size", "id"]
    list_select_related = ["envelope"]
    list_filter = [ReadFilter, SourceFilter]
    filter_parameters = frozenset(["read", "source"])
    unindexed_filters = frozenset(["source"])
    row_views = {**ProvableAdmin.row_views, "body": "download_body"}
    fields = [
        "received",
        "source",
        "error",
        "content_type",
        "content_encoding",
        ("size", "kept"),
        "hash",
        "seal",
        "request_id",
        "trace_id",
        "content",
    ]
    readonly_fields = ["received", "kept", "hash", "content"]

    def get_queryset(self, request: HttpRequest) -> DeliveryQuerySet:
        """Omit the bodies in lists; a single delivery loads its body when it is needed."""
        return Delivery.objects.for_list()

    def download_body(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Download the received body, byte for byte."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        delivery = Delivery.objects.filter(pk=pk).first()
        if delivery is None:
            page = self.archived_page(request, pk, status=410)
            self.record(request, "delivery", pk)
            return page
        self.record(request, "delivery body", pk)
        name = f"delivery-{pk}" if delivery.complete else f"delivery-{pk}-first-part"
        return attachment(delivery.body, name, "application/octet-stream")

    def _get_obj_does_not_exist_redirect(self, request: HttpRequest, opts: Any, object_id: str) -> HttpResponse:
        """Show the page of an archived delivery, where Django would redirect."""
        with suppress(Http404, ValueError):
            return self.archived_page(request, int(object_id), status=200)
        return super()._get_obj_does_not_exist_redirect(request, opts, object_id)

    def archived_page(self, request: HttpRequest, pk: int, *, status: int) -> HttpResponse:
        """Show the remaining data of an archived delivery. Raise Http404 if it was not archived."""
        archive = get_archives([pk]).get(pk)
        if archive is None:
            raise Http404
        facts = list(get_facts(Envelope.objects.get(pk=pk), archive))
        context = {"title": f"Delivery {pk}", "delivery": pk, "file_name": archive.file_name, "facts": facts}
        page = self.extra_page(request, "alerts_audit/delivery_archived.html", **context)
        page.status_code = status
        return page

    received = column("Received (UTC)", show_time, "received_at")

    @display(description="Status")
    def status(self, delivery: Delivery) -> str:
        word = get_status(delivery)
        return show_badge(word, COLOURS.get(word, "default"))

    @display(description="Why it is quarantined")
    def error(self, delivery: Delivery) -> str | None:
        envelope = get_envelope(delivery)
        return envelope.error if envelope else None

    def alerts(self, delivery: Delivery) -> str | None:
        content = small_payload(delivery)
        if content is not None:
            return show_alerts(content.alert_names(), len(content.alerts))
        envelope = get_envelope(delivery)
        if envelope is not None and envelope.error is None:
            return show_alerts(payload.few(envelope.alertnames), envelope.alerts)
        if not delivery.complete:
            return "unknown: only the first part is stored"
        waits = envelope is None and delivery.size > READABLE_IN_LISTS
        return "unknown: too large to parse for a list" if waits else None

    def receiver(self, delivery: Delivery) -> str | None:
        content, envelope = small_payload(delivery), get_envelope(delivery)
        known = content or envelope
        return (known.receiver or "")[: payload.MAX_TEXT] or None if known else None

    @display(description="Kept")
    def kept(self, delivery: Delivery) -> str:
        if delivery.kept_sha256 is None:
            return "complete"
        text = 'the first {} bytes, with the SHA-256 <span class="code">{}</span>'
        return format_html(text, f"{len(delivery.body):,}", bytes(delivery.kept_sha256).hex())

    hash = column("SHA-256 of the whole body", lambda delivery: bytes(delivery.sha256).hex())

    @display(description="Body")
    def content(self, delivery: Delivery) -> SafeString:
        text = readable(bytes(delivery.body))
        note = " Its beginning:" if len(text) > MAX_SHOWN else ""
        download = "Download the original bytes" if delivery.complete else "Download the stored first part"
        return format_html(
            '<p><a class="link" href="{}">{}</a>.{}</p><pre class="raw">{}</pre>',
            reverse("admin:alerts_audit_delivery_body", args=[delivery.pk]),
            download,
            note,
            text[:MAX_SHOWN],
        )


def get_envelope(delivery: Delivery) -> Envelope | None:
    """Return the envelope, or None if the delivery is not projected yet."""
    return getattr(delivery, "envelope", None)


def show_alerts(names: list[str], number: int) -> str:
    return f"{', '.join(names)} ({number})"


def get_facts(envelope: Envelope, archive: Archive) -> Iterator[tuple[str, str]]:
    """Yield the remaining data of the projection and of the archive's row, each with its name."""
    if envelope.error is not None:
        yield "Why it is quarantined", envelope.error
    else:
        yield "Status", envelope.status or "-"
        yield "Alerts", show_alerts(payload.few(envelope.alertnames), envelope.alerts)
        yield "Receiver", envelope.receiver or "-"
    yield "Archive", archive.file_name
    yield "SHA-256 of the file", bytes(archive.file_sha256).hex()
    yield "Leaves in it", f"{archive.first_leaf:,} to {archive.end_leaf - 1:,}"
    yield "Archived (UTC)", show_time(archive.at)
    yield "By", archive.by


def get_status(delivery: Delivery) -> str:
    envelope = get_envelope(delivery)
    if envelope is not None and envelope.error is not None:
        return "quarantined"
    known = small_payload(delivery) or envelope
    if known is not None:
        return (known.status or "")[: payload.MAX_TEXT]
    return "large" if delivery.size > READABLE_IN_LISTS else "unreadable"


def small_payload(delivery: Delivery) -> payload.Payload | None:
    """Return the payload of a row of `for_list`; None if it is unreadable, or too large for a list."""
    body = getattr(delivery, "small_body", None)
    return payload.read(bytes(body)) if body is not None else None


def readable(body: bytes) -> str:
    """Return indented JSON; anything else as text, with unprintable bytes as escapes."""
    try:
        return orjson.dumps(orjson.loads(body), option=orjson.OPT_INDENT_2).decode()
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):  # not JSON, or nested too deeply to indent
        text = body[: MAX_SHOWN + 1].decode(errors="backslashreplace")
        return CONTROL_CHARACTERS.sub(lambda found: f"\\x{ord(found[0]):02x}", text)
