"""The OpenAPI document: valid, complete, and with examples that hold."""

import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.validation import validate_schema
from jsonschema import Draft202012Validator

from fintech.testing.processes import Platform, wait_until
from payments.api.filters import FILTERS
from payments.currencies import EXPONENTS

OPERATIONS = {
    ("post", "/v1/transactions"): "create_transaction",
    ("post", "/transaction"): "create_transaction_by_short_name",
    ("get", "/v1/transactions"): "list_transactions",
    ("get", "/v1/transactions/{id}"): "retrieve_transaction",
    ("post", "/v1/transactions/batch"): "create_transactions",
    ("get", "/v1/transactions/{id}/captures"): "list_captures",
    ("post", "/v1/transactions/{id}/captures"): "create_capture",
    ("post", "/v1/transactions/{id}/void"): "create_void",
    ("post", "/v1/transactions/{id}/review"): "decide_review",
    ("get", "/v1/transactions/{id}/events"): "list_transaction_events",
    ("get", "/v1/transactions/{id}/refunds"): "list_refunds",
    ("post", "/v1/transactions/{id}/refunds"): "create_refund",
    ("post", "/v1/fraud/try"): "try_fraud",
    ("get", "/v1/disputes"): "list_disputes",
    ("get", "/v1/disputes/{id}"): "retrieve_dispute",
    ("post", "/v1/disputes/{id}/evidence"): "submit_evidence",
    ("post", "/v1/disputes/{id}/accept"): "accept_dispute",
    ("get", "/v1/events"): "list_events",
    ("get", "/v1/events/{id}"): "retrieve_event",
    ("get", "/v1/webhook-endpoints"): "list_webhook_endpoints",
    ("post", "/v1/webhook-endpoints"): "create_webhook_endpoint",
    ("get", "/v1/webhook-endpoints/{id}"): "retrieve_webhook_endpoint",
    ("patch", "/v1/webhook-endpoints/{id}"): "change_webhook_endpoint",
    ("post", "/v1/webhook-endpoints/{id}/secret"): "rotate_webhook_secret",
    ("post", "/v1/webhook-endpoints/{id}/test"): "send_test_event",
    ("get", "/v1/webhook-endpoints/{id}/deliveries"): "list_webhook_deliveries",
    ("post", "/v1/webhook-endpoints/{id}/redeliver"): "redeliver_events",
}
WITHOUT_BODY = [("post", f"/v1/webhook-endpoints/{{id}}/{action}") for action in ("secret", "test")]


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return SchemaGenerator().get_schema(request=None, public=True)


def operations(document: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    """The merchants'; the alert trail's have tests of their own."""
    paths = {path: methods for path, methods in document["paths"].items() if not path.startswith("/v1/alerts/")}
    return {(method, path): it for path, methods in paths.items() for method, it in methods.items()}


def examples(value: Any) -> Iterator[tuple[Any, Any]]:
    """Return each schema with its example."""
    if isinstance(value, dict):
        for example in value.get("examples", {}).values() if isinstance(value.get("examples"), dict) else ():
            yield value["schema"], example["value"]
        if isinstance(value.get("examples"), list):
            yield from ((value, example) for example in value["examples"])
        value = list(value.values())
    if isinstance(value, list):
        for inner in value:
            yield from examples(inner)


def assert_valid(document: dict[str, Any], schema: Any, instance: Any) -> None:
    whole = {"components": document["components"], "allOf": [schema]}
    Draft202012Validator(whole, format_checker=Draft202012Validator.FORMAT_CHECKER).validate(instance)


def test_it_is_valid_openapi_3_1(document):
    assert document["openapi"] == "3.1.0"
    validate_schema(document)


def test_making_it_warns_of_nothing(capfd):
    SchemaGenerator().get_schema(request=None, public=True)

    assert capfd.readouterr() == ("", "")


def test_it_has_all_operations_and_no_others(document):
    assert {place: it["operationId"] for place, it in operations(document).items()} == OPERATIONS


@pytest.mark.parametrize("place", OPERATIONS)
def test_each_operation_documents_its_purpose_and_permission(document, place):
    operation = operations(document)[place]

    assert operation["summary"]
    assert operation["tags"]
    assert operation["security"] == [{"apiKey": []}]
    assert document["components"]["securitySchemes"]["apiKey"] == {"type": "http", "scheme": "bearer"}


@pytest.mark.parametrize("place", OPERATIONS)
def test_each_answer_is_described(document, place):
    responses = operations(document)[place]["responses"]

    assert {"401", "403", "429", "503"} <= responses.keys()
    assert not {"500", "default"} & responses.keys()
    for status, response in responses.items():
        media_type = "application/json" if status < "300" else "application/problem+json"
        assert response["description"]
        assert list(response["content"]) == [media_type]
        if status >= "300":
            assert response["content"][media_type]["schema"] == {"$ref": "#/components/schemas/ProblemDocument"}
    for status in {"202", "409", "429", "503"} & responses.keys():
        assert "Retry-After" in responses[status]["headers"]


def test_each_example_is_valid(document):
    found = list(examples(document))

    assert len(found) >= 10
    for schema, example in found:
        assert_valid(document, schema, example)


@pytest.mark.parametrize("place", [place for place in OPERATIONS if place[0] == "post" and place not in WITHOUT_BODY])
def test_each_request_body_has_an_example(document, place):
    body = operations(document)[place]["requestBody"]

    assert body["content"]["application/json"]["examples"]
    assert body["required"] == (not place[1].endswith(("/refunds", "/captures", "/void", "/accept")))


def test_a_key_is_required_where_money_moves(document):
    for place, operation in operations(document).items():
        keys = [parameter for parameter in operation.get("parameters", []) if parameter["name"] == "Idempotency-Key"]
        # A dispute is answered once in each round, so an answer needs no key.
        is_keyed = not place[1].endswith("batch") and operation["tags"] not in (["webhooks"], ["fraud"], ["disputes"])
        if place[0] == "post" and is_keyed:
            assert [key["required"] for key in keys] == [True]
        else:
            assert keys == []


def test_each_filter_of_the_list_is_a_parameter(document):
    parameters = operations(document)["get", "/v1/transactions"]["parameters"]

    queries = {parameter["name"] for parameter in parameters if parameter["in"] == "query"}
    assert queries == {*FILTERS, "idempotency_key", "expand", "cursor", "limit"}


def test_the_currencies_are_those_that_are_taken(document):
    assert document["components"]["schemas"]["PaymentInput"]["properties"]["currency"]["enum"] == sorted(EXPONENTS)


@pytest.mark.parametrize(
    ("shape", "instance"),
    [
        ("PaymentInput", {"amount": 0, "currency": "EUR"}),
        ("PaymentInput", {"amount": 1, "currency": "ABC"}),
        ("PaymentInput", {"amount": 1, "currency": "EUR", "colour": "red"}),
        ("PaymentInput", {"amount": 1, "currency": "EUR", "customer": "a\0"}),
        ("BatchInput", {"items": []}),
        ("BatchInput", {"items": [{"amount": 1, "currency": "EUR"}]}),
        ("RefundInput", {"amount": -1}),
    ],
)
def test_its_shapes_refuse_what_the_service_refuses(document, shape, instance):
    schema = {"$ref": f"#/components/schemas/{shape}"}

    assert list(Draft202012Validator({"components": document["components"], "allOf": [schema]}).iter_errors(instance))


def read_at_once(platform: Platform, readers: int = 40) -> list[int]:
    barrier = Barrier(readers)

    def read(_: int) -> int:
        barrier.wait()
        return platform.request("GET", "/v1/schema", timeout=60).status

    with ThreadPoolExecutor(readers) as threads:
        return list(threads.map(read, range(readers)))


@pytest.mark.processes
@pytest.mark.slow
def test_the_first_readers_after_each_start_get_it(tmp_path):
    """They generated it at the same time, and most of them got 500."""
    with Platform(tmp_path, workers=2, worker=False) as platform:
        assert read_at_once(platform) == [200] * 40

        before = set(platform.worker_pids())
        platform.web.process.send_signal(signal.SIGHUP)
        wait_until(lambda: not before & set(platform.worker_pids()), timeout=60, what="the workers are new")
        assert read_at_once(platform) == [200] * 40
