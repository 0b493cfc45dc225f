"""Webhook endpoints and events over the API: refusals first, with nothing stored."""

import secrets
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from django.db import IntegrityError
from django.test import Client

from fintech.http import pagination
from payments.api_keys import create_api_key
from payments.models import ApiKey, Merchant, WebhookDelivery, WebhookEndpoint
from payments.tests.factories import make_payment
from payments.webhooks.endpoints import MAX_ENDPOINTS, OVERLAP, change_endpoint, rotate_secret, valid_secrets

ENDPOINTS = "/v1/webhook-endpoints"
URL = "https://shop.example/hook"
UNKNOWN = UUID(int=0)


class Api:
    """A merchant's calls."""

    def __init__(self, merchant: Merchant, *scopes: str) -> None:
        self.merchant = merchant
        _, secret = create_api_key(merchant=merchant, name="test", scopes=scopes or list(ApiKey.Scope.values))
        self.headers = {"Authorization": f"Bearer {secret}"}

    def __call__(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        options = {} if body is None else {"data": body, "content_type": "application/json"}
        response = getattr(Client(), method)(path, headers=self.headers, **options)
        return response.status_code, response.json()

    def create(self, **fields: Any) -> dict[str, Any]:
        status, body = self("post", ENDPOINTS, {"url": f"{URL}/{secrets.token_hex(4)}", **fields})
        assert status == 201
        return body


def pages_of(api: Api, path: str | None) -> list[list[dict[str, Any]]]:
    """Follow a list to its end."""
    pages = []
    while path:
        page = api("get", path.removeprefix("http://testserver"))[1]
        pages.append(page["data"])
        path = page["next"]
    return pages


@pytest.fixture
def api(merchant: Merchant) -> Api:
    return Api(merchant)


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        ({}, "missing_field", "url"),
        ({"url": 7}, "invalid_value", "url"),
        ({"url": ""}, "invalid_value", "url"),
        ({"url": "http://shop.example/"}, "invalid_url", "url"),
        ({"url": "https://10.0.0.1/"}, "invalid_url", "url"),
        ({"url": "https://4111111111111111.example/"}, "card_number", "url"),
        ({"url": URL, "event_types": ["payment.stolen"]}, "unknown_event_type", "event_types"),
        ({"url": URL, "event_types": "payment.succeeded"}, "invalid_value", "event_types"),
        ({"url": URL, "enabled": 1}, "invalid_value", "enabled"),
        ({"url": URL, "description": "x" * 1001}, "invalid_value", "description"),
        ({"url": URL, "secret": "whsec_mine"}, "unknown_field", "secret"),
    ],
)
def test_an_endpoint_with_a_wrong_field_is_refused(api, settings, body, code, param):
    settings.WEBHOOKS_TO_LOOPBACK = False

    status, problem = api("post", ENDPOINTS, body)

    assert (status, problem["code"], problem["param"]) == (422, code, param)
    assert not WebhookEndpoint.objects.filter(merchant=api.merchant).exists()


def test_the_same_url_twice_is_a_conflict(api):
    api.create(url=URL)

    status, problem = api("post", ENDPOINTS, {"url": URL})

    assert (status, problem["code"]) == (409, "endpoint_exists")


def test_an_endpoint_that_the_database_refuses_for_another_reason_is_no_conflict_of_urls(api):
    endpoint = WebhookEndpoint.objects.get(pk=api.create(url=URL)["id"])

    with pytest.raises(IntegrityError, match="webhook_endpoint_disabled_for_a_reason"):
        change_endpoint(endpoint, disabled_because="gone")


def test_a_merchant_has_a_bounded_number_of_endpoints(api):
    for _ in range(MAX_ENDPOINTS):
        api.create()

    status, problem = api("post", ENDPOINTS, {"url": URL})

    assert (status, problem["code"]) == (409, "too_many_endpoints")


CALLS = [
    ("get", ""),
    ("patch", ""),
    ("post", "/secret"),
    ("post", "/test"),
    ("post", "/redeliver"),
    ("get", "/deliveries"),
]


@pytest.mark.parametrize(("method", "action"), CALLS)
def test_another_merchants_endpoint_does_not_exist(api, make_other, method, action):
    others = Api(make_other()).create()

    for identifier in (others["id"], UNKNOWN, "x"):
        status, problem = api(method, f"{ENDPOINTS}/{identifier}{action}", {} if method != "get" else None)
        assert (status, problem["detail"]) == (404, "The endpoint does not exist.")


@pytest.mark.parametrize(("method", "action"), CALLS)
def test_a_key_without_the_scope_is_refused(api, method, action):
    endpoint = api.create()
    scope = "payments:read" if method == "get" else "webhooks:write"
    weak = Api(api.merchant, *sorted(set(ApiKey.Scope.values) - {scope}))

    status, problem = weak(method, f"{ENDPOINTS}/{endpoint['id']}{action}", {} if method != "get" else None)

    assert (status, problem["code"]) == (403, "wrong_scope")
    assert scope in problem["detail"]


def test_a_secret_is_shown_once_and_stored_encrypted(api):
    created = api.create()

    endpoint = WebhookEndpoint.objects.get(pk=created["id"])
    assert valid_secrets(endpoint) == [created["secret"]]
    stored = bytes(endpoint.secrets.get().encrypted)
    assert created["secret"].encode() not in stored
    for path in (ENDPOINTS, f"{ENDPOINTS}/{created['id']}"):
        assert "whsec_" not in str(api("get", path))


def test_a_secret_of_another_endpoint_cannot_be_decrypted(api):
    first, second = (WebhookEndpoint.objects.get(pk=api.create()["id"]) for _ in range(2))
    stolen = first.secrets.get()
    second.secrets.update(encrypted=stolen.encrypted)

    with pytest.raises(ValueError, match="another DJANGO_SECRET_KEY"):
        valid_secrets(second)


def test_a_former_key_of_the_settings_still_decrypts(api, settings):
    endpoint = WebhookEndpoint.objects.get(pk=api.create()["id"])
    before = valid_secrets(endpoint)
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = secrets.token_urlsafe(50)

    assert valid_secrets(endpoint) == before


def test_two_secrets_are_valid_in_a_rotation_and_never_three(api):
    created = api.create()
    endpoint = WebhookEndpoint.objects.get(pk=created["id"])

    status, rotated = api("post", f"{ENDPOINTS}/{created['id']}/secret")
    assert status == 201
    assert valid_secrets(endpoint) == [rotated["secret"], created["secret"]]

    newest = rotate_secret(endpoint)
    assert valid_secrets(endpoint) == [newest, rotated["secret"]]

    endpoint.secrets.filter(expires_at__isnull=False).update(expires_at=datetime.now(UTC) - OVERLAP)
    assert valid_secrets(endpoint) == [newest]


@pytest.mark.parametrize("action", ["secret", "test"])
@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b'{"overlap_seconds": 0}', 422, "unknown_field"),
        (b'{"secret": "whsec_mine"}', 422, "unknown_field"),
        (b"[]", 422, "invalid_value"),
        (b'{"a": 1, "a": 1}', 400, "invalid_json"),
        (b"[" * 100_000, 400, "invalid_json"),
        (b" " * 5_000_000, 413, "body_too_large"),
    ],
)
def test_a_field_of_an_operation_without_fields_is_refused(api, action, body, status, code):
    """It was ignored: a merchant that asked for an overlap of 0 s believed that the former secret had ended."""
    created = api.create()

    path = f"{ENDPOINTS}/{created['id']}/{action}"
    reply = Client().post(path, body, content_type="application/json", headers=api.headers)

    assert (reply.status_code, reply.json()["code"]) == (status, code)
    assert valid_secrets(WebhookEndpoint.objects.get(pk=created["id"])) == [created["secret"]]
    assert not WebhookEndpoint.objects.get(pk=created["id"]).deliveries.exists()


@pytest.mark.parametrize("action", ["secret", "test"])
def test_an_operation_without_fields_takes_an_empty_object(api, action):
    path = f"{ENDPOINTS}/{api.create()['id']}/{action}"
    bodies: list[Any] = [None, {}]

    assert [api("post", path, body)[0] for body in bodies] == [201 if action == "secret" else 202] * 2


def test_endpoints_are_listed_in_pages(api):
    ids = [api.create()["id"] for _ in range(3)][::-1]

    status, page = api("get", f"{ENDPOINTS}?limit=2")
    assert (status, [row["id"] for row in page["data"]]) == (200, ids[:2])
    status, last = api("get", page["next"].removeprefix("http://testserver"))
    assert ([row["id"] for row in last["data"]], last["next"]) == (ids[2:], None)


@pytest.mark.parametrize("query", ["limit=0", "colour=red", "limit=1&limit=1"])
def test_a_wrong_parameter_of_the_endpoints_is_refused(api, query):
    assert api("get", f"{ENDPOINTS}?{query}")[0] == 422


def test_reading_one_endpoint_or_event_takes_no_parameter(api, announce):
    make_payment(api.merchant)
    announce()
    event = api("get", "/v1/events")[1]["data"][0]["id"]

    for path in (f"{ENDPOINTS}/{api.create()['id']}", f"/v1/events/{event}"):
        assert api("get", path)[0] == 200
        assert (api("get", f"{path}?expand=x")[1]["code"]) == "unknown_parameter"


def test_an_endpoint_is_changed_in_part(api):
    created = api.create(description="first", event_types=["payment.succeeded"])
    path = f"{ENDPOINTS}/{created['id']}"

    status, changed = api("patch", path, {"enabled": False})
    assert (status, changed["enabled"], changed["disabled_because"]) == (200, False, "merchant")
    assert (changed["description"], changed["event_types"]) == ("first", ["payment.succeeded"])

    status, changed = api("patch", path, {"enabled": True, "event_types": []})
    assert (status, changed["enabled"], changed["event_types"]) == (200, True, [])
    assert api("patch", path, {"url": "https://127.0.0.2/"})[0] == 422


def test_a_test_event_is_queued_for_this_endpoint_alone(api):
    endpoint, other = api.create(event_types=["payment.succeeded"]), api.create()

    status, event = api("post", f"{ENDPOINTS}/{endpoint['id']}/test")

    assert (status, event["type"]) == (202, "webhook_endpoint.test")
    (delivery,) = api("get", f"{ENDPOINTS}/{endpoint['id']}/deliveries")[1]["data"]
    assert (delivery["event"], delivery["status"], delivery["attempts"]) == (event["id"], "pending", [])
    assert api("get", f"{ENDPOINTS}/{other['id']}/deliveries")[1]["data"] == []


def test_a_disabled_endpoint_receives_neither_a_test_nor_a_redelivery(api):
    endpoint = api.create(enabled=False)
    times = {"from": "2026-01-01T00:00:00Z", "before": "2026-01-02T00:00:00Z"}

    for action, body in (("test", None), ("redeliver", times)):
        status, problem = api("post", f"{ENDPOINTS}/{endpoint['id']}/{action}", body)
        assert (status, problem["code"]) == (409, "endpoint_disabled")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"from": "2026-01-01T00:00:00Z"},
        {"before": "2026-01-01T00:00:00Z"},
        {"event": str(UNKNOWN), "from": "2026-01-01T00:00:00Z", "before": "2026-01-02T00:00:00Z"},
        {"event": "x"},
        {"from": "yesterday", "before": "today"},
        {"from": "2026-01-01T00:00:00", "before": "2026-01-02T00:00:00"},
    ],
)
def test_a_redelivery_names_an_event_or_a_time(api, body):
    endpoint = api.create()

    status, problem = api("post", f"{ENDPOINTS}/{endpoint['id']}/redeliver", body)

    assert (status, problem["code"]) == (422, "invalid_value")


@pytest.mark.parametrize("time", ["9999-12-31T23:59:59.999999-23:59", "0001-01-01T00:00:00+23:59"])
def test_a_time_beyond_those_of_the_database_is_the_nearest_one(api, time):
    endpoint = api.create()

    redelivered = api("post", f"{ENDPOINTS}/{endpoint['id']}/redeliver", {"from": time, "before": time})

    assert redelivered == (202, {"queued": 0})


def test_events_are_redelivered_by_id_and_by_time(api, announce):
    make_payment(api.merchant)
    announce()
    endpoint = api.create(event_types=["payment.succeeded"])
    path = f"{ENDPOINTS}/{endpoint['id']}"
    (event,) = api("get", "/v1/events?type=payment.succeeded")[1]["data"]

    assert api("post", f"{path}/redeliver", {"event": event["id"]}) == (202, {"queued": 1})
    WebhookEndpoint.objects.get(pk=endpoint["id"]).deliveries.update(status="delivered", tries=3)
    now = datetime.now(UTC)
    times = {"from": (now - timedelta(hours=1)).isoformat(), "before": (now + timedelta(minutes=1)).isoformat()}
    assert api("post", f"{path}/redeliver", times) == (202, {"queued": 1})

    (delivery,) = api("get", f"{path}/deliveries?status=pending")[1]["data"]
    assert (delivery["event"], delivery["type"]) == (event["id"], "payment.succeeded")
    assert api("post", f"{path}/redeliver", {"event": str(UNKNOWN)})[0] == 404


def test_another_merchants_event_is_neither_shown_nor_redelivered(api, announce, make_other):
    stranger = Api(make_other())
    make_payment(stranger.merchant)
    announce()
    (event, *_) = stranger("get", "/v1/events")[1]["data"]

    for identifier in (event["id"], UNKNOWN, "x"):
        status, problem = api("get", f"/v1/events/{identifier}")
        assert (status, problem["detail"]) == (404, "The event does not exist.")
    assert api("get", "/v1/events") == (200, {"data": [], "next": None})
    endpoint = api.create()
    assert api("post", f"{ENDPOINTS}/{endpoint['id']}/redeliver", {"event": event["id"]})[0] == 404


def test_a_cursor_of_another_endpoints_deliveries_is_refused(api):
    first, second = api.create(), api.create()
    for _ in range(2):
        api("post", f"{ENDPOINTS}/{first['id']}/test")
    cursor = api("get", f"{ENDPOINTS}/{first['id']}/deliveries?limit=1")[1]["next"].partition("cursor=")[2]

    assert api("get", f"{ENDPOINTS}/{first['id']}/deliveries?cursor={cursor}")[0] == 200
    status, problem = api("get", f"{ENDPOINTS}/{second['id']}/deliveries?cursor={cursor}")
    assert (status, problem["code"]) == (400, "invalid_cursor")


def test_events_are_listed_newest_first_and_in_pages(api, announce):
    for _ in range(3):
        make_payment(api.merchant)
    announce()

    whole = api("get", "/v1/events")[1]["data"]
    assert len(whole) == 6
    pages = pages_of(api, "/v1/events?limit=4")
    assert [len(page) for page in pages] == [4, 2]
    assert [event for page in pages for event in page] == whole
    assert [event["timestamp"] for event in whole] == sorted((event["timestamp"] for event in whole), reverse=True)
    assert api("get", f"/v1/events/{whole[0]['id']}") == (200, whole[0])


def test_a_page_of_one_type_of_events_examines_a_bounded_number(api, announce, monkeypatch):
    """One of a rare type examined all events of the merchant, and was a 503 after five seconds."""
    wanted = make_payment(api.merchant, status="declined")
    for _ in range(2):
        make_payment(api.merchant)
    announce()
    monkeypatch.setattr(pagination, "MAX_EXAMINED", 3)

    pages = pages_of(api, "/v1/events?type=payment.declined")

    assert [[event["data"]["id"] for event in page] for page in pages] == [[], [str(wanted.pk)], []]
    assert [len(page) for page in pages_of(api, "/v1/events?type=payment.succeeded&limit=1")] == [1, 1, 0]


@pytest.mark.parametrize(
    ("status", "sizes"), [("delivered", [0, 1, 0]), ("failed", [1, 0, 0]), ("pending", [3]), (None, [5])]
)
def test_a_page_of_deliveries_by_status_examines_a_bounded_number(api, monkeypatch, status, sizes):
    endpoint = api.create()
    for _ in range(5):
        api("post", f"{ENDPOINTS}/{endpoint['id']}/test")
    ids = [row.pk for row in WebhookEndpoint.objects.get(pk=endpoint["id"]).deliveries.order_by("-id")]
    WebhookDelivery.objects.filter(pk=ids[0]).update(status="failed")
    WebhookDelivery.objects.filter(pk=ids[3]).update(status="delivered")
    monkeypatch.setattr(pagination, "MAX_EXAMINED", 2)

    path = f"{ENDPOINTS}/{endpoint['id']}/deliveries"
    pages = pages_of(api, f"{path}?status={status}" if status else path)

    assert [len(page) for page in pages] == sizes


@pytest.mark.parametrize("query", ["type=payment.stolen", "limit=0", "merchant=1", "limit=1&limit=2"])
def test_a_wrong_parameter_of_the_list_is_refused(api, query):
    status, problem = api("get", f"/v1/events?{query}")

    assert (status, problem["param"]) == (422, query.partition("=")[0])


@pytest.mark.parametrize("path", [ENDPOINTS, "/v1/events"])
def test_a_text_that_is_no_cursor_is_refused(api, path):
    status, problem = api("get", f"{path}?cursor=x")

    assert (status, problem["code"]) == (400, "invalid_cursor")
