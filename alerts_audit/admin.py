"""The alert trail for people: to read, and nothing else."""

import re

import orjson
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from alerts_audit import payload
from alerts_audit.models import Delivery, DeliveryQuerySet
from fintech.changelists import ReadOnlyAdmin

# More than this of a body is a download, not a page.
LONGEST_SHOWN = 256 * 1024
CONTROL_CHARACTERS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


@admin.register(Delivery)
class DeliveryAdmin(ReadOnlyAdmin):
    list_display = ["received_at", "status", "alerts", "receiver", "source", "size", "id"]
    fields = [
        "received_at",
        "source",
        "content_type",
        "content_encoding",
        "size",
        "hash",
        "request_id",
        "content",
    ]
    readonly_fields = ["hash", "content"]

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

    @admin.display(empty_value="unreadable")
    def status(self, delivery: Delivery) -> str | None:
        content = small_payload(delivery)
        return content.status[: payload.LONGEST_TEXT] if content else None

    @admin.display
    def alerts(self, delivery: Delivery) -> str | None:
        content = small_payload(delivery)
        return f"{', '.join(content.alert_names())} ({len(content.alerts)})" if content else None

    @admin.display
    def receiver(self, delivery: Delivery) -> str | None:
        content = small_payload(delivery)
        return content.receiver[: payload.LONGEST_TEXT] if content else None

    @admin.display(description="SHA-256")
    def hash(self, delivery: Delivery) -> str:
        return bytes(delivery.sha256).hex()

    @admin.display(description="Body")
    def content(self, delivery: Delivery) -> SafeString:
        text = readable(bytes(delivery.body))
        note = " The first part of it:" if len(text) > LONGEST_SHOWN else ""
        return format_html(
            '<p><a href="{}">Download it as it came</a>.{}</p>'
            '<pre style="white-space: pre-wrap; overflow-wrap: anywhere">{}</pre>',
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
