"""Pages of evidence: read-only, and looking at one leaves a row of its own; what is sealed can be proved."""

from typing import Any

import orjson
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path

from alerts_audit.reviews.viewing import record_view
from alerts_audit.seal.proofs import NoProof, prove
from fintech.changelists import ReadOnlyAdmin
from fintech.display import page_of


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


class ProvableAdmin(RecordedAdmin):
    """Rows that are leaves of the log, under the model's name."""

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.download_proof)
        return [path("<int:pk>/proof", view, name=f"alerts_audit_{self.opts.model_name}_proof"), *super().get_urls()]

    def download_proof(self, request: HttpRequest, pk: int) -> HttpResponse:
        """The inclusion proof, for the standalone verifier; a message if there is none."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        kind = str(self.opts.model_name)
        try:
            proof = orjson.dumps(prove(kind, pk), option=orjson.OPT_INDENT_2)
        except NoProof as reason:
            self.message_user(request, str(reason), messages.WARNING)
            return HttpResponseRedirect(page_of(self.model, pk))
        self.record(request, f"{kind} proof", pk)
        headers = {"Content-Disposition": f'attachment; filename="{kind}-{pk}.proof.json"'}
        return HttpResponse(proof, content_type="application/json", headers=headers)
