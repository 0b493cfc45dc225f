"""Archives of payments: what each file has, and its SHA-256."""

from uuid import UUID

from django.contrib import admin
from django.db.models import QuerySet

from fintech.adminsite.changelists import ReadOnlyAdmin
from fintech.adminsite.display import column, show_code, show_json, show_time
from payments.models import Archive


@admin.register(Archive)
class ArchiveAdmin(ReadOnlyAdmin):
    list_display = ["archived_at", "file_name", "ended_before", "payments", "by"]
    fields = [("archived_at", "by"), ("ended_before", "payments"), "file_name", "hash", "contents_shown"]
    list_defer = ["contents"]
    search_fields = ["payment"]
    search_help_text = "Id of a transaction: the files that have it"

    def search(self, queryset: QuerySet[Archive], term: str) -> QuerySet[Archive]:
        try:
            payment = UUID(term)
        except ValueError:
            return queryset.none()
        return queryset.filter(pk__in=Archive.objects.holding(payment).values("pk"))

    archived_at = column("Archived (UTC)", show_time, "at")
    ended_before = column("Ended before (UTC)", show_time, "before")
    hash = column("SHA-256 of the file", lambda archive: show_code(archive.sha256))
    contents_shown = column("Contents", show_json, "contents")
