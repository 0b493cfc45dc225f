"""All paths. None redirects a POST: a 301 turns Alertmanager's POST into a GET."""

from typing import NoReturn

from django.contrib import admin
from django.http import Http404, HttpRequest
from django.urls import include, path
from django.views.generic import RedirectView
from drf_spectacular.views import SpectacularSwaggerSplitView

from fintech.http import health

SAFE = ["get", "head"]
admin.autodiscover()


def nothing_here(request: HttpRequest) -> NoReturn:
    raise Http404


urlpatterns = [
    path("", include("payments.urls")),
    path("", include("alerts_audit.urls")),
    path("v1/docs", SpectacularSwaggerSplitView.as_view(url_name="schema", http_method_names=SAFE), name="docs"),
    path("health", health.health),
    path("ready", health.ready),
    path("metrics", health.metrics),
    # Unfold's search of the menu, which no page offers; it fails on a number of a page that does not exist.
    path("admin/search/", nothing_here),
    path("admin/", admin.site.urls),
    # For people who type the address; only a GET is redirected.
    path("", RedirectView.as_view(url="/admin/", http_method_names=SAFE)),
    path("admin", RedirectView.as_view(url="/admin/", http_method_names=SAFE)),
]

handler400 = "fintech.http.problems.bad_request"
handler404 = "fintech.http.problems.not_found"
handler500 = "fintech.http.problems.server_error"
