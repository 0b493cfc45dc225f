"""Shared behaviour of the admin's lists: they never count a table, and refuse forged actions.

A table that grows without limit is shown newest first by its key. A page starts below the key in `?before=`, so the
millionth row costs as much as the first. Nothing is counted, and lists can only be sorted and filtered by indexed
columns.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

from django.contrib import messages
from django.contrib.admin import ShowFacets
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.utils import flatten_fieldsets, unquote
from django.core.exceptions import BadRequest, PermissionDenied, ValidationError
from django.db import IntegrityError, transaction
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.safestring import SafeString
from django.views.decorators.debug import sensitive_variables
from psycopg.errors import ForeignKeyViolation, UniqueViolation
from unfold.admin import ModelAdmin
from unfold.templatetags.unfold_list import result_headers
from unfold.views import ChangeList

from fintech.adminsite.rows import draw_rows
from fintech.adminsite.stale_forms import SHOWN_VALUES, StaleForm, digest_of
from fintech.database import replica

logger = logging.getLogger("fintech.adminsite")

BEFORE = "before"
# The database's errors if another request added the same row first, or deleted a row that this one refers to.
OVERTAKEN = (UniqueViolation, ForeignKeyViolation)


def start_of_page(request: HttpRequest, model: type[Model]) -> Any:
    """Return the key below which the page starts; None for the first page."""
    text = request.GET.get(BEFORE)
    if not text:
        return None
    try:
        return model._meta.pk.to_python(text)
    except ValidationError as error:
        raise IncorrectLookupParameters(error) from error


class Pages:
    """A replacement of the paginator, which would count: `cl.older` is where the next page starts."""

    template_name = "fintech/pages.html"


class KeysetChangeList(ChangeList):
    """A list sorted by key, newest first.

    A filter without an index (`needs_window`) could read the whole table for one page. With such a filter a page reads
    at most `WINDOW` rows, and the next page continues from there.
    """

    WINDOW = 100_000

    def get_queryset(self, request: HttpRequest, exclude_parameters: list[str] | None = None) -> QuerySet[Any]:
        self.before = start_of_page(request, self.model)
        for parameters in (self.params, self.filter_params):
            parameters.pop(BEFORE, None)
        rows = super().get_queryset(request, exclude_parameters).defer(*self.model_admin.list_defer)
        for spec in self.filter_specs:
            # Unfold's form also sends unused parameters, and a changed filter starts at the newest row again.
            spec.used_parameters[BEFORE] = self.before
        self.rows_of_all_pages = rows
        return rows if self.before is None else rows.filter(pk__lt=self.before)

    def get_ordering(self, request: HttpRequest, queryset: QuerySet[Any]) -> list[str]:
        return ["-pk"]

    def get_results(self, request: HttpRequest) -> None:
        end = self.end_of_window() if self.model_admin.needs_window(self.params) else None
        self.show_window(self.queryset, end)

    def show_window(self, rows: QuerySet[Any], end: Any) -> None:
        """Show the first rows, which the page reads down to the key `end`; None: to the end of the table."""
        found = list((rows if end is None else rows.filter(pk__gte=end))[: self.list_per_page + 1])
        shown = found[: self.list_per_page]
        older = shown[-1].pk if len(found) > self.list_per_page else end
        self.show_page(shown, older=older, looked_at=self.WINDOW if end is not None and older == end else None)

    def show_page(self, rows: list[Any], *, older: Any, looked_at: int | None) -> None:
        """Show a page. `older` is the key below which the next page starts; None for the last."""
        self.result_list, self.older, self.looked_at = rows, older, looked_at
        # Attributes that the templates of Django and Unfold read.
        self.result_count = self.full_result_count = len(self.result_list)
        self.paginator = Pages()
        self.can_show_all = self.multi_page = self.show_full_result_count = False
        self.show_admin_actions = bool(self.result_list)

    @cached_property
    def headers(self) -> list[dict[str, Any]]:
        return list(result_headers(self))

    def rows(self) -> Iterator[SafeString]:
        return draw_rows(self, [header["text"] for header in self.headers])

    @property
    def newest_link(self) -> str:
        return self.get_query_string()

    @property
    def older_link(self) -> str:
        return self.get_query_string({BEFORE: str(self.older)})

    def end_of_window(self) -> Any:
        """Return the lowest key that this page reads; None if the table ends first."""
        keys = self.model._default_manager.order_by("-pk").values_list("pk", flat=True)
        if self.before is not None:
            keys = keys.filter(pk__lt=self.before)
        return keys[self.WINDOW - 1 : self.WINDOW].first()


class GuardedAdmin(ModelAdmin):
    """An admin that refuses what its pages do not offer. Django ignores some of it, and fails on the rest."""

    list_disable_select_all = True  # an action is for the rows of a page, which its user has seen
    # Parameters of the filters; Django would allow any lookup of any field, such as an invalid regular expression.
    filter_parameters: frozenset[str] = frozenset()
    # Errors of a save after its form was shown or checked: another request was faster.
    conflicts: tuple[type[Exception], ...] = (IntegrityError, StaleForm)
    change_form_before_template = "fintech/shown_values.html"

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        return lookup in self.filter_parameters

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        # The choices of a form's field are searched with any text, and PostgreSQL refuses NUL.
        return super().get_search_results(request, queryset, search_term.replace("\0", " "))

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        if request.method == "POST":
            self._refuse_forged_action(request)
        return super().changelist_view(request, extra_context)

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        try:
            if request.method != "POST" or object_id is None:
                return super().changeform_view(request, object_id, form_url, extra_context)
            with transaction.atomic():
                self._refuse_stale_form(request, object_id)
                return super().changeform_view(request, object_id, form_url, extra_context)
        except self.conflicts as error:
            if isinstance(error, IntegrityError) and not isinstance(error.__cause__, OVERTAKEN):
                raise  # the form allows what the database never allows: a fault of ours
            logger.warning("admin_conflict", extra={"reason": str(error).partition("\n")[0]})
            detail = "Nothing was saved, because another change came first: look at it before you save again."
            self.message_user(request, detail, messages.ERROR)
            return HttpResponseRedirect(request.get_full_path())

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, obj: Any = None, **options: Any
    ) -> HttpResponse:
        if obj is not None and self.has_change_permission(request, obj):
            context[SHOWN_VALUES] = digest_of(context["adminform"].form)
        return super().render_change_form(request, context, *args, obj=obj, **options)

    def _refuse_stale_form(self, request: HttpRequest, object_id: str) -> None:
        """Lock the row, and raise StaleForm if it has other values by now than its form showed.

        A request without the digest is accepted: a script that sends values of its own has not copied them from an old
        page.
        """
        row = self.get_object(request, unquote(object_id))
        if SHOWN_VALUES not in request.POST or row is None or not self.has_change_permission(request, row):
            return  # in the latter cases Django's view refuses the request
        # It waits for another save of the row, and for none that only refers to the row, such as a payment.
        row = self.model._default_manager.select_for_update(no_key=True).filter(pk=row.pk).first()
        if row is None:
            return
        fields = flatten_fieldsets(self.get_fieldsets(request, row))
        form = self.get_form(request, row, change=True, fields=fields)(instance=row)
        if request.POST[SHOWN_VALUES] != digest_of(form):
            raise StaleForm("the row has changed since its form was shown")

    def _refuse_forged_action(self, request: HttpRequest) -> None:
        """Refuse actions that are not offered and malformed keys. Django ignores the former and fails on the latter."""
        allowed = self.get_actions(request)
        if not allowed or any(name and name not in allowed for name in request.POST.getlist("action")):
            raise PermissionDenied
        if request.POST.get("select_across", "0") != "0":
            raise BadRequest("An action needs rows of this list.")
        try:
            for key in request.POST.getlist(ACTION_CHECKBOX_NAME):
                self.opts.pk.to_python(key)
        except ValidationError:
            raise BadRequest("This key is invalid.") from None


class KeptAdmin(GuardedAdmin):
    """An admin without deletion."""

    show_facets = ShowFacets.NEVER  # each would be a count
    list_filter_submit = True
    # Views of one row beside Django's: the end of their address, and their method. With {"revoke/": "revoke_view"}, API
    # keys have a view of the name `payments_apikey_revoke`.
    row_views: Mapping[str, str] = {}

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def get_urls(self) -> list[URLPattern]:
        views = {end: self.admin_site.admin_view(getattr(self, method)) for end, method in self.row_views.items()}
        name = f"{self.opts.app_label}_{self.opts.model_name}"
        own = [path(f"<int:pk>/{end}", view, name=f"{name}_{end.strip('/')}") for end, view in views.items()]
        return [*own, *super().get_urls()]

    @sensitive_variables("context", "shared")  # of some pages, a secret that is shown once
    def extra_page(self, request: HttpRequest, template: str, **context: Any) -> TemplateResponse:
        """Show a page that Django's admin does not have."""
        shared = {**self.admin_site.each_context(request), "opts": self.opts}
        return TemplateResponse(request, template, {**shared, **context})

    def row_context(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        """Return what the template of a row's page needs beside the row, such as the `tools` of fintech/row.html."""
        return {}

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, obj: Any = None, **options: Any
    ) -> HttpResponse:
        context |= {} if obj is None else self.row_context(request, obj)
        return super().render_change_form(request, context, *args, obj=obj, **options)


class ReadOnlyAdmin(KeptAdmin):
    """A read-only admin of a large table."""

    change_list_template = "fintech/list.html"
    show_full_result_count = False
    sortable_by: Sequence[str] = ()
    list_per_page = 50
    unindexed_filters: frozenset[str] = frozenset()
    list_defer: Sequence[str] = ()

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        """Return the row. A request reads it once, so all parts of its page show the same state."""
        rows, key = vars(request).setdefault("rows", {}), (self.model, object_id, from_field)
        if key not in rows:
            rows[key] = super().get_object(request, object_id, from_field)
        return rows[key]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        if request.method != "GET":
            return super().changelist_view(request, extra_context)
        return replica.read(self._drawn_changelist, request, extra_context)

    def _drawn_changelist(self, request: HttpRequest, extra_context: dict[str, Any] | None) -> HttpResponse:
        """Return the page, drawn with all its queries."""
        response = super().changelist_view(request, extra_context)
        return response.render() if isinstance(response, TemplateResponse) else response

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return KeysetChangeList

    def to_field_allowed(self, request: HttpRequest, to_field: str) -> bool:
        """Refuse the rows as choices of a field. No form offers them, and Django counts choices, with any text."""
        return False

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        term = search_term.strip()
        return (self.search(queryset, term) if term else queryset), False

    def needs_window(self, parameters: Mapping[str, str]) -> bool:
        return not self.unindexed_filters.isdisjoint(parameters)

    def search(self, queryset: QuerySet[Any], term: str) -> QuerySet[Any]:
        """Return the rows with the name `term`, through an index. Without this method there is no search box."""
        return queryset.none()

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False
