"""The signed log: checkpoints to download, results of verifications, and archives."""

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.utils.html import format_html
from unfold.decorators import display

from alerts_audit.admin.access_logged import AccessLoggedAdmin
from alerts_audit.models import Archive, Checkpoint, Verification
from alerts_audit.seal.signer_lookup import get_signers
from fintech.adminsite.display import column, show_badge, show_code, show_json, show_time, show_values, show_whole
from fintech.http.views import attachment
from fintech.texts import count_of


@admin.register(Checkpoint)
class CheckpointAdmin(AccessLoggedAdmin):
    list_display = ["leaves", "sealed_at", "root_shown", "key_id", "download"]
    list_display_links = ["leaves"]
    fields = [("leaves", "sealed_at"), "root_shown", "note_shown", "download", "key_id", "signer"]
    list_defer = ["frontier", "note"]
    row_views = {"note": "download_note"}

    def download_note(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Download the signed note, as it was published."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        checkpoint = get_object_or_404(Checkpoint, pk=pk)
        self.record(request, "checkpoint note", checkpoint.size)
        return attachment(checkpoint.note, f"checkpoint-{checkpoint.size}.txt", "text/plain; charset=utf-8")

    leaves = column("Leaves", lambda checkpoint: show_whole(f"{checkpoint.size:,}"))
    sealed_at = column("Sealed (UTC)", show_time, "at")
    root_shown = column("Root (SHA-256)", lambda checkpoint: show_code(bytes(checkpoint.root).hex()))
    note_shown = column("Signed note", lambda checkpoint: format_html('<pre class="raw">{}</pre>', checkpoint.note))

    @display(description="Note")
    def download(self, checkpoint: Checkpoint) -> str:
        address = reverse("admin:alerts_audit_checkpoint_note", args=[checkpoint.pk])
        return format_html('<a class="link" href="{}">download</a>', address)

    @display(description="Public key that signed it")
    def signer(self, checkpoint: Checkpoint) -> str:
        return show_code(get_signers([checkpoint])[checkpoint.pk] or "Unknown here.")


@admin.register(Verification)
class VerificationAdmin(AccessLoggedAdmin):
    list_display = ["verified_at", "result", "leaves", "took"]
    fields = [("verified_at", "result"), ("leaves", "took"), "covered_shown", "findings_shown"]

    verified_at = column("Verified (UTC)", show_time, "at")

    @display(description="Result")
    def result(self, verification: Verification) -> str:
        if verification.ok:
            return show_badge("nothing wrong", "success")
        number = len(verification.findings)
        return show_badge(count_of(number, "finding"), "danger")

    leaves = column("Leaves", lambda verification: show_whole(f"{verification.tree_size:,}"))
    took = column("Took", lambda verification: f"{verification.seconds:.1f} s")
    covered_shown = column("Covered", show_values, "covered")
    findings_shown = column("Findings", show_json, "findings")


@admin.register(Archive)
class ArchiveAdmin(AccessLoggedAdmin):
    list_display = ["archived_at", "leaves", "file_name", "by"]
    fields = [("archived_at", "by"), ("leaves", "last_input"), "file_name", "hash"]
    list_defer = ["carried"]

    archived_at = column("Archived (UTC)", show_time, "at")
    leaves = column("Leaves", lambda archive: show_whole(f"{archive.first_leaf:,} to {archive.end_leaf - 1:,}"))
    hash = column("SHA-256 of the file", lambda archive: show_code(bytes(archive.file_sha256).hex()))
