"""The examples beside each operation of /v1/docs are executed: curl, Python and JavaScript."""

import ast
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from alerts_audit.permissions import issue_token
from alerts_audit.tests.factories import make_episode, make_user
from fintech.http.code_samples import EXAMPLE_ID, LANGUAGES, OTHER_TOKEN, example_body
from fintech.testing.browser import Browser, needs_chromium
from payments.api.openapi import document
from payments.models import Merchant
from payments.tests.conftest import Client

State = dict[str, str]

OPERATIONS: dict[str, dict[str, Any]] = {
    operation["operationId"]: operation
    for methods in json.loads(document())["paths"].values()
    for operation in methods.values()
}
PROGRAMS = {
    "shell": ("sh", "-euc"),
    "python": (sys.executable, "-c"),
    "javascript": ("node", "--input-type=module", "--eval"),
}
NEEDED = {"shell": "curl", "python": sys.executable, "javascript": "node"}


def source(operation: str, language: str) -> str:
    (found,) = [one["source"] for one in OPERATIONS[operation]["x-codeSamples"] if one["lang"] == language]
    return str(found)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_no_operation_lacks_an_example(operation):
    samples = OPERATIONS[operation]["x-codeSamples"]

    assert [(one["lang"], one["label"]) for one in samples] == [language[:2] for language in LANGUAGES]
    assert all(one["source"].strip() for one in samples)


@pytest.mark.parametrize("operation", [name for name, it in OPERATIONS.items() if "requestBody" in it])
def test_all_languages_send_the_body_of_the_document(operation):
    body = example_body(OPERATIONS[operation])

    (call,) = [node for node in ast.walk(ast.parse(source(operation, "python"))) if isinstance(node, ast.keyword)][-1:]
    javascript = source(operation, "javascript").partition("JSON.stringify(")[2].rpartition("),\n});")[0]
    assert (call.arg, ast.literal_eval(call.value)) == ("json", body)
    assert json.loads(javascript) == body
    assert f"--data '{json.dumps(body)}'" in source(operation, "shell")


@pytest.mark.parametrize("operation", OPERATIONS)
def test_exactly_the_operations_that_take_a_key_send_one(operation):
    takes = any(one["name"] == "Idempotency-Key" for one in OPERATIONS[operation]["parameters"])

    assert [("Idempotency-Key" in source(operation, lang)) for lang, _, _ in LANGUAGES] == [takes] * len(LANGUAGES)


@pytest.fixture
def state(client: Client, open_dispute: Callable[..., str]) -> State:
    """Make an object for each operation that needs one. Returns its id by operation."""
    Merchant.objects.filter(pk=client.merchant.pk).update(review_threshold=0.5)
    risky = {"type": "card", "token": "tok_risky", "country": "DE"}
    paid, captured, voided = (client.pay(5000, capture=capture).body["id"] for capture in (True, False, False))
    reviewed = client.pay(payment_method=risky).body
    assert reviewed["status"] == "in_review"
    endpoints = [
        client.post("/v1/webhook-endpoints", {"url": f"https://shop.example/{n}"}).body["id"] for n in range(2)
    ]
    event = client.post(f"/v1/webhook-endpoints/{endpoints[0]}/test", None).body["id"]
    answered, accepted = (open_dispute(client.pay(5000).body["id"]) for _ in range(2))
    episode = str(make_episode().key)
    ids = {
        paid: ("retrieve_transaction", "list_transaction_events", "list_refunds", "create_refund"),
        captured: ("list_captures", "create_capture"),
        voided: ("create_void",),
        reviewed["id"]: ("decide_review",),
        answered: ("retrieve_dispute", "submit_evidence"),
        accepted: ("accept_dispute",),
        endpoints[0]: ("retrieve_webhook_endpoint", "rotate_webhook_secret", "send_test_event"),
        endpoints[1]: ("list_webhook_deliveries", "change_webhook_endpoint"),
        event: ("retrieve_event",),
        episode: ("retrieve_episode", "list_reviews", "create_review"),
    }
    made = {operation: identifier for identifier, operations in ids.items() for operation in operations}
    return made | {"redeliver_events": endpoints[0], "event": event}


def with_ids(program: str, operation: str, state: State) -> str:
    """Replace the id in the address by the operation's, and the one in the body of a redelivery by the event's."""
    if operation in state:
        program = program.replace(EXAMPLE_ID, state[operation], 1)
    return program.replace(EXAMPLE_ID, state["event"]) if operation == "redeliver_events" else program


def joined(programs: dict[str, str], language: str) -> str:
    """Return one program that runs all of them, each after the name of its operation."""
    shapes = {
        "shell": "printf '\\n=> {}\\n'\n{}",
        "python": "print('\\n=> {}', flush=True)\n{}",
        "javascript": "console.log('\\n=> {}');\n{{\n{}}}\n",
    }
    return "\n".join(shapes[language].format(*program) for program in programs.items())


@pytest.mark.processes
@pytest.mark.parametrize(
    "language",
    [
        pytest.param(
            name, marks=pytest.mark.skipif(not shutil.which(NEEDED[name]), reason=f"{NEEDED[name]} is not installed")
        )
        for name, _, _ in LANGUAGES
    ],
)
def test_each_example_is_answered(platform, client, state, language):
    _, token = issue_token(user=make_user(is_superuser=True), name="test")
    own = {"PAYMENTS_URL": platform.url, "PAYMENTS_API_KEY": client.api_key, OTHER_TOKEN: token}
    programs = {operation: with_ids(source(operation, language), operation, state) for operation in OPERATIONS}
    assert not any(EXAMPLE_ID in program for program in programs.values())

    done = subprocess.run(
        [*PROGRAMS[language], joined(programs, language)],
        env={**os.environ, **own},
        capture_output=True,
        text=True,
        check=False,
    )

    answers = [answer.partition("\n") for answer in done.stdout.split("=> ")[1:]]
    assert done.returncode == 0, (answers[-1:], done.stderr)
    assert [operation for operation, _, answer in answers if answer.strip()] == list(OPERATIONS)


@needs_chromium
@pytest.mark.processes
def test_the_page_shows_the_example_in_the_chosen_language(client, browser: Browser):
    browser.page.set_default_timeout(60_000)  # Swagger UI takes seconds to draw an operation on a busy machine
    browser.open("/v1/docs")
    browser.page.click("#operations-refunds-create_refund")
    shown = browser.page.locator("#operations-refunds-create_refund .code-samples")
    shown.wait_for()

    for language, label, _ in reversed(LANGUAGES):  # the first is chosen at the beginning
        shown.locator(f"button >> text={label}").click()
        text = shown.locator("pre").inner_text()
        assert "".join(text.split()) == "".join(source("create_refund", language).split())
    assert browser.complaints == []
