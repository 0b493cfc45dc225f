"""The alert trail for people: to read, and nothing else."""

import re
from datetime import UTC

import orjson
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.decorators import display

from alerts_audit import payload
from alerts_audit.models import READABLE_IN_LISTS, Delivery, DeliveryQuerySet
from fintech.changelists import ReadOnlyAdmin

# More than this of a body is a download, not a page.
LONGEST_SHOWN = 256 * 1024
COLOURS = {"firing": "danger", "resolved": "success", "unreadable": "warning", "large": "info"}
CONTROL_CHARACTERS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


@admin.register(Delivery)
class DeliveryAdmin(ReadOnlyAdmin):
    list_display = ["received", "status", "alerts", "receiver", "source", "size", "id"]
    fields = [
        "received",
        "source",
        "content_type",
        "content_encoding",
        "size",
        "hash",
        "request_id",
        "content",
    ]
    readonly_fields = ["received", "hash", "content"]

    def get_queryset(self, request: HttpRequest) -> DeliveryQuerySet:
        """The list does without the bodies; a single delivery brings its own when it is asked for."""
        return Delivery.objects.for_list()

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.download_body)
        return [path("<int:pk>/body", view, name="alerts_audit_delivery_body"), *super().get_urls()]

    def download_body(self, request: HttpRequest, pk: int) -> HttpResponse:
        """What was sent, byte for byte."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        delivery = Delivery.objects.filter(pk=pk).first()
        if delivery is None:
            raise Http404
        return HttpResponse(
            delivery.body,
            content_type="application/octet-stream",
            headers={"Content-Disposition": f'attachment; filename="delivery-{pk}"'},
        )

    @display(description="Received (UTC)")
    def received(self, delivery: Delivery) -> str:
        return f"{delivery.received_at.astimezone(UTC):%Y-%m-%d %H:%M:%S}"

    @display(label=COLOURS)
    def status(self, delivery: Delivery) -> str:
        content = small_payload(delivery)
        if content is not None:
            return content.status[: payload.LONGEST_TEXT]
        return "large" if delivery.size > READABLE_IN_LISTS else "unreadable"

    def alerts(self, delivery: Delivery) -> str | None:
        content = small_payload(delivery)
        return f"{', '.join(content.alert_names())} ({len(content.alerts)})" if content else None

    def receiver(self, delivery: Delivery) -> str | None:
        content = small_payload(delivery)
        return content.receiver[: payload.LONGEST_TEXT] if content else None

    @display(description="SHA-256")
    def hash(self, delivery: Delivery) -> str:
        return bytes(delivery.sha256).hex()

    @display(description="Body")
    def content(self, delivery: Delivery) -> SafeString:
        text = readable(bytes(delivery.body))
        note = " The first part of it:" if len(text) > LONGEST_SHOWN else ""
        return format_html(
            '<p><a class="link" href="{}">Download it as it came</a>.{}</p><pre class="raw">{}</pre>',
            reverse("admin:alerts_audit_delivery_body", args=[delivery.pk]),
            note,
            text[:LONGEST_SHOWN],
        )


def small_payload(delivery: Delivery) -> payload.Payload | None:
    """A row of `for_list` understood; None if it cannot be, or is too large to try in a list."""
    body = getattr(delivery, "small_body", None)
    return payload.read(bytes(body)) if body is not None else None


def readable(body: bytes) -> str:
    """JSON with indents; anything else as text, with what cannot be shown as escapes."""
    try:
        return orjson.dumps(orjson.loads(body), option=orjson.OPT_INDENT_2).decode()
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):  # not JSON, or nested too deeply to indent
        text = body[: LONGEST_SHOWN + 1].decode(errors="backslashreplace")
        return CONTROL_CHARACTERS.sub(lambda found: f"\\x{ord(found[0]):02x}", text)
