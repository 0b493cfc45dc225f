"""Archives of payments: what each file has, and its SHA-256."""

from uuid import UUID

from django.contrib import admin
from django.db.models import QuerySet
from unfold.decorators import display

from fintech.adminsite.changelists import ReadOnlyAdmin
from fintech.adminsite.display import show_code, show_json, time_column
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

    archived_at = time_column("at", "Archived (UTC)")
    ended_before = time_column("before", "Ended before (UTC)")

    @display(description="SHA-256 of the file")
    def hash(self, archive: Archive) -> str:
        return show_code(archive.sha256)

    @display(description="Contents")
    def contents_shown(self, archive: Archive) -> str:
        return show_json(archive.contents)
