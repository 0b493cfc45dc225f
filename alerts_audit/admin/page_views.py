"""The recorded page views: which user has looked at which item or list, and when."""

from django.contrib import admin

from alerts_audit.admin.access_logged import AccessLoggedAdmin
from alerts_audit.admin.display import shorten
from alerts_audit.models import View
from fintech.adminsite.display import column, show_time


@admin.register(View)
class ViewAdmin(AccessLoggedAdmin):
    list_display = ["seen_at", "user", "what", "which"]
    list_display_links = ["seen_at"]
    fields = [("seen_at", "user"), ("what", "request_id"), "key"]

    seen_at = column("At (UTC)", show_time, "at")
    which = column("Item or filter", lambda view: shorten(view.key) or "-")
