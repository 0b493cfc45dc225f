"""The API's middleware answers as Django's own does."""

from collections.abc import Callable

import pytest
from django.core.exceptions import DisallowedHost
from django.http import HttpRequest, HttpResponse
from django.middleware.security import SecurityMiddleware
from django.test import RequestFactory
from prometheus_client import REGISTRY

from fintech.http import middleware
from fintech.http.middleware import (
    AllowedHostMiddleware,
    ApiMetricsMiddleware,
    ApiSecurityMiddleware,
    BrowserMetricsMiddleware,
)

Headers = dict[str, str]


def answer(request: HttpRequest) -> HttpResponse:
    return HttpResponse(b"{}", content_type="application/json", headers={"Allow": "GET"})


@pytest.mark.parametrize("secure", [True, False])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"SECURE_HSTS_SECONDS": 60, "SECURE_HSTS_PRELOAD": True, "SECURE_HSTS_INCLUDE_SUBDOMAINS": True},
        {"SECURE_REFERRER_POLICY": "no-referrer", "SECURE_CROSS_ORIGIN_OPENER_POLICY": "unsafe-none"},
        {"SECURE_CONTENT_TYPE_NOSNIFF": False},
        {"SECURE_SSL_REDIRECT": True, "SECURE_HSTS_SECONDS": 60},
    ],
)
def test_the_headers_of_the_api_are_those_of_django(settings, changes, secure):
    for name, value in changes.items():
        setattr(settings, name, value)
    request = RequestFactory().get("/v1/transactions", secure=secure)

    ours, djangos = (made(answer)(request) for made in (ApiSecurityMiddleware, SecurityMiddleware))

    assert (ours.status_code, dict(ours.items())) == (djangos.status_code, dict(djangos.items()))


def test_a_header_of_the_answer_has_precedence():
    def opener(request: HttpRequest) -> HttpResponse:
        return HttpResponse(headers={"referrer-policy": "origin"})

    response = ApiSecurityMiddleware(opener)(RequestFactory().get("/v1/transactions"))

    assert response["Referrer-Policy"] == "origin"


@pytest.mark.parametrize("made", [ApiMetricsMiddleware, BrowserMetricsMiddleware])
def test_a_method_that_a_client_invents_is_in_no_metric(made):
    made(answer)(RequestFactory().generic("INVENTED", "/v1/docs"))

    labels = [sample.labels for metric in REGISTRY.collect() for sample in metric.samples]
    assert "<invalid method>" in [one.get("method") for one in labels]
    assert "INVENTED" not in [one.get("method") for one in labels]


@pytest.fixture
def ask(settings) -> Callable[..., int]:
    settings.ALLOWED_HOSTS = ["shop.example", ".wild.example"]
    checked = AllowedHostMiddleware(answer)

    def ask(host: str, **headers: str) -> int:
        request = RequestFactory().get("/v1/transactions", headers={"host": host, **headers})
        request.log_fields = {}  # type: ignore[attr-defined]
        return checked(request).status_code

    return ask


def test_an_allowed_host_is_accepted_each_time_and_another_refused_each_time(ask):
    assert [ask(host) for host in ("shop.example", "evil.example") * 2] == [200, 400, 200, 400]


def test_a_host_that_was_allowed_does_not_hide_a_forwarded_one(ask, settings):
    settings.USE_X_FORWARDED_HOST = True

    assert ask("shop.example") == 200
    assert ask("shop.example", x_forwarded_host="evil.example") == 400


def test_the_accepted_hosts_are_limited_in_number(ask, monkeypatch):
    monkeypatch.setattr(middleware, "MAX_HOSTS", 2)

    assert {ask(f"{name}.wild.example") for name in "abcd" * 2} == {200}
    assert ask("wild.example.evil.example") == 400


def test_the_host_matters_to_no_probe(settings):
    settings.ALLOWED_HOSTS = ["shop.example"]
    request = RequestFactory().get("/health", headers={"host": "10.0.0.1"})

    with pytest.raises(DisallowedHost):
        request.get_host()
    assert AllowedHostMiddleware(answer)(request).status_code == 200
