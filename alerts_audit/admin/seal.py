"""The signed log: checkpoints to download, results of verifications, and archives."""

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from unfold.decorators import display

from alerts_audit.admin.access_logged import AccessLoggedAdmin
from alerts_audit.models import Archive, Checkpoint, Verification
from alerts_audit.seal.signer_lookup import get_signers
from fintech.adminsite.display import show_badge, show_code, show_json, show_values, show_whole, time_column
from fintech.texts import count_of


@admin.register(Checkpoint)
class CheckpointAdmin(AccessLoggedAdmin):
    list_display = ["leaves", "sealed_at", "root_shown", "key_id", "download"]
    list_display_links = ["leaves"]
    fields = [("leaves", "sealed_at"), "root_shown", "note_shown", "download", "key_id", "signer"]
    list_defer = ["frontier", "note"]

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.download_note)
        return [path("<int:pk>/note", view, name="alerts_audit_checkpoint_note"), *super().get_urls()]

    def download_note(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Download the signed note, as it was published."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        checkpoint = Checkpoint.objects.filter(pk=pk).first()
        if checkpoint is None:
            raise Http404
        self.record(request, "checkpoint note", checkpoint.size)
        disposition = f'attachment; filename="checkpoint-{checkpoint.size}.txt"'
        headers = {"Content-Disposition": disposition}
        return HttpResponse(checkpoint.note, content_type="text/plain; charset=utf-8", headers=headers)

    @display(description="Leaves")
    def leaves(self, checkpoint: Checkpoint) -> str:
        return show_whole(f"{checkpoint.size:,}")

    sealed_at = time_column("at", "Sealed (UTC)")

    @display(description="Root (SHA-256)")
    def root_shown(self, checkpoint: Checkpoint) -> str:
        return show_code(bytes(checkpoint.root).hex())

    @display(description="Signed note")
    def note_shown(self, checkpoint: Checkpoint) -> str:
        return format_html('<pre class="raw">{}</pre>', checkpoint.note)

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

    verified_at = time_column("at", "Verified (UTC)")

    @display(description="Result")
    def result(self, verification: Verification) -> str:
        if verification.ok:
            return show_badge("nothing wrong", "success")
        number = len(verification.findings)
        return show_badge(count_of(number, "finding"), "danger")

    @display(description="Leaves")
    def leaves(self, verification: Verification) -> str:
        return show_whole(f"{verification.tree_size:,}")

    @display(description="Took")
    def took(self, verification: Verification) -> str:
        return f"{verification.seconds:.1f} s"

    @display(description="Covered")
    def covered_shown(self, verification: Verification) -> str:
        return show_values(verification.covered)

    @display(description="Findings")
    def findings_shown(self, verification: Verification) -> str:
        return show_json(verification.findings)


@admin.register(Archive)
class ArchiveAdmin(AccessLoggedAdmin):
    list_display = ["archived_at", "leaves", "file_name", "by"]
    fields = [("archived_at", "by"), ("leaves", "last_input"), "file_name", "hash"]
    list_defer = ["carried"]

    archived_at = time_column("at", "Archived (UTC)")

    @display(description="Leaves")
    def leaves(self, archive: Archive) -> str:
        return show_whole(f"{archive.first_leaf:,} to {archive.end_leaf - 1:,}")

    @display(description="SHA-256 of the file")
    def hash(self, archive: Archive) -> str:
        return show_code(bytes(archive.file_sha256).hex())
