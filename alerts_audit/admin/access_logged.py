"""Pages of evidence: read-only, with a record of each page view and a proof of each sealed row."""

from typing import Any

import orjson
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db.models import Model
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.html import format_html
from unfold.decorators import display

from alerts_audit.admin.display import SEAL_COLOURS, shorten
from alerts_audit.models import Leaf
from alerts_audit.reviews.viewing import filter_of, record_view
from alerts_audit.seal.proofs import NoProof, prove
from alerts_audit.selectors.episode_detail import get_row_seals
from fintech.adminsite.changelists import ReadOnlyAdmin
from fintech.adminsite.display import page_of, show_badge, show_time
from fintech.http.views import attachment


class AccessLoggedAdmin(ReadOnlyAdmin):
    """An admin that records who saw its list, and who saw which row."""

    @property
    def recorded_names(self) -> tuple[str, str]:
        """Return the names of a row's page and of the list in these records."""
        return str(self.opts.verbose_name), str(self.opts.verbose_name_plural)

    def record(self, request: HttpRequest, what: str, key: object = "") -> None:
        record_view(user=request.user, what=what, key=key)  # type: ignore[arg-type] # the admin admits only users

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        response = super().changelist_view(request, extra_context)
        if response.status_code == 200:  # by any method: Django also draws the list for a POST that names no action
            self.record(request, self.recorded_names[1], filter_of(request))
        return response

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        response = super().change_view(request, object_id, form_url, extra_context)
        if response.status_code == 200:
            self.record(request, self.recorded_names[0], object_id)
        return response


class ProvableAdmin(AccessLoggedAdmin):
    """An admin of rows that are leaves of the log, under the model's name."""

    row_views = {"proof": "download_proof"}

    @display(description="Seal")
    def seal(self, row: Model) -> str:
        kind = str(self.opts.model_name)
        sealed = get_row_seals({Leaf.Kind(kind): [row.pk]})[kind, row.pk]
        if sealed.checkpoint is None:
            return "Not sealed yet." if sealed.leaf is None else f"leaf {sealed.leaf}"
        address = reverse(f"admin:alerts_audit_{kind}_proof", args=[row.pk])
        text = '{} leaf {}, sealed by {} UTC; <a class="link" href="{}">inclusion proof</a>'
        badge, at = show_badge("sealed", SEAL_COLOURS["sealed"]), show_time(sealed.checkpoint.at)
        return format_html(text, badge, sealed.leaf, at, address)

    def _get_obj_does_not_exist_redirect(self, request: HttpRequest, opts: Any, object_id: str) -> HttpResponse:
        """Redirect with a message. Django's would suggest that the object was deleted, which is impossible."""
        text = f"The {opts.verbose_name} {shorten(object_id, 20)} does not exist here. An archive may contain it."
        self.message_user(request, text, messages.WARNING)
        return HttpResponseRedirect(reverse("admin:index"))

    def download_proof(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Download the inclusion proof for the standalone verifier, or show why there is none."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        kind = str(self.opts.model_name)
        try:
            proof = orjson.dumps(prove(kind, pk), option=orjson.OPT_INDENT_2)
        except NoProof as reason:
            self.message_user(request, str(reason), messages.WARNING)
            return HttpResponseRedirect(page_of(self.model, pk))
        self.record(request, f"{kind} proof", pk)
        return attachment(proof, f"{kind}-{pk}.proof.json", "application/json")
