"""The base of REST views: REST framework's behaviour, without its cost."""

import gc
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
from django.http import HttpResponse
from django.test import RequestFactory
from rest_framework.request import Request

from fintech.http.views import JsonView, json_answer


class Echo(JsonView):
    """A view that remembers its last request, weakly."""

    authentication_classes = []
    permission_classes = []
    seen: list[weakref.ref[Any]] = []

    def get(self, request: Request) -> HttpResponse:
        self.seen[:] = [weakref.ref(request), weakref.ref(self)]
        return json_answer({"method": request.method})

    post = get


@pytest.fixture
def _no_collector() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("_no_collector")
@pytest.mark.parametrize("method", ["get", "post"])
def test_a_request_and_its_view_are_freed_when_they_are_answered(method):
    response = Echo.as_view()(getattr(RequestFactory(), method)("/"))

    assert response.status_code == 200
    assert [reference() for reference in Echo.seen] == [None, None]


def test_a_head_request_is_answered_by_get():
    response = Echo.as_view()(RequestFactory().head("/"))

    assert response.status_code == 200


def test_head_is_allowed_where_get_is_and_only_there():
    class Writing(JsonView):
        authentication_classes = []
        permission_classes = []

        def post(self, request: Request) -> HttpResponse:
            return json_answer({})

    allowed = [view.as_view()(RequestFactory().post("/")).headers["Allow"] for view in (Echo, Writing)]
    assert allowed == ["GET, POST, HEAD, OPTIONS", "POST, OPTIONS"]
    assert Writing.as_view()(RequestFactory().head("/")).status_code == 405
