"""Pages of evidence: read-only, and looking at one leaves a row of its own."""

from typing import Any

from django.http import HttpRequest, HttpResponse

from alerts_audit.reviews.viewing import record_view
from fintech.changelists import ReadOnlyAdmin


class RecordedAdmin(ReadOnlyAdmin):
    """`what` a list is recorded as; one of its rows is the model's name."""

    def record(self, request: HttpRequest, what: str, key: object = "") -> None:
        record_view(user=request.user, what=what, key=key)  # type: ignore[arg-type] # the admin lets nobody else in

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        response = super().changelist_view(request, extra_context)
        if request.method == "GET" and response.status_code == 200:
            self.record(request, str(self.opts.verbose_name_plural), request.META.get("QUERY_STRING", ""))
        return response

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        response = super().change_view(request, object_id, form_url, extra_context)
        if request.method == "GET" and response.status_code == 200:
            self.record(request, str(self.opts.verbose_name), object_id)
        return response
