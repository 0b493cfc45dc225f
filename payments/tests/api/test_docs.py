"""The API's documentation in a real browser: from this host alone, under the real Content-Security-Policy."""

import pytest
from drf_spectacular.generators import SchemaGenerator

from fintech.testing.browser import Browser, needs_chromium

pytestmark = [needs_chromium, pytest.mark.processes]


@pytest.fixture
def client_key(client) -> str:
    return client.api_key


def test_swagger_ui_shows_each_operation_and_can_call_one(client_key, browser: Browser):
    asked: list[str] = []
    browser.page.on("request", lambda request: asked.append(request.url))

    browser.open("/v1/docs")
    browser.page.wait_for_selector(".opblock")

    paths = SchemaGenerator().get_schema(request=None, public=True)["paths"]
    assert browser.page.locator(".opblock").count() == sum(map(len, paths.values()))
    browser.page.click("button.authorize")
    browser.page.fill("input[aria-label='auth-bearer-value']", client_key)
    browser.page.click("button.authorize.modal-btn")
    browser.page.click("button.btn-done")
    browser.page.click("#operations-transactions-list_transactions")
    browser.page.click("#operations-transactions-list_transactions button.try-out__btn")
    browser.page.click("#operations-transactions-list_transactions button.execute")
    browser.page.wait_for_selector(".live-responses-table .response-col_status >> text=200")
    assert browser.complaints == []
    assert all(url.startswith((browser.url, "data:")) for url in asked), asked


def test_the_documentation_loads_nothing_from_elsewhere(platform):
    page = platform.request("GET", "/v1/docs")
    policy = page.headers["Content-Security-Policy"]

    assert page.status == 200
    assert b"://" not in page.body
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy + ";"
    assert "unsafe-eval" not in policy


@pytest.mark.parametrize("query", ["", "?format=yaml", "?lang=xx", "?version=%00"])
def test_the_document_is_json_whatever_is_asked_for(platform, query):
    for accept in ("application/json", "text/html", "application/yaml", "x"):
        reply = platform.request("GET", f"/v1/schema{query}", headers={"Accept": accept})

        assert reply.status == 200
        assert reply.headers["Content-Type"].startswith("application/vnd.oai.openapi+json")
        assert reply.body["openapi"] == "3.1.0"


@pytest.mark.parametrize("accept", ["application/json", "text/html;a*=nonsense''b", "text/html;a*=b;a*0=c"])
def test_the_page_is_html_or_nothing(platform, accept):
    reply = platform.request("GET", "/v1/docs", headers={"Accept": accept})

    assert (reply.status, reply.body["code"]) == (406, "not_acceptable")


@pytest.mark.parametrize("path", ["/v1/schema", "/v1/docs"])
def test_the_documentation_is_read(platform, path):
    reply = platform.request("POST", path, {})

    assert (reply.status, reply.body["code"]) == (405, "method_not_allowed")


def test_the_page_has_no_other_methods(platform):
    """REST framework would describe the view instead, in a page that needs more than its description."""
    reply = platform.request("OPTIONS", "/v1/docs")

    assert (reply.status, reply.headers["Allow"]) == (405, "GET, HEAD")
