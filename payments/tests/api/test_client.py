"""The Python client, built from the OpenAPI document, and the examples of docs/client.md pay at the real service."""

import http.server
import importlib
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from payments.client.build import PACKAGE, build
from payments.client.retries import RetryingTransport
from payments.models import Refund, Transaction

DOCUMENT = (Path(__file__).resolve().parents[3] / "docs" / "client.md").read_text()


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("client") / "built"
    build(target)
    return target


# --- Retries -----------------------------------------------------------------------------------------------


class Busy(http.server.BaseHTTPRequestHandler):
    """Answers with each status of the server's list, and closes the connection without an answer for 0.

    For a negative status it closes the connection in the middle of the body.
    """

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        server: Any = self.server
        body = self.rfile.read(int(self.headers["Content-Length"]))
        server.received.append((self.headers["Idempotency-Key"], body))
        status, retry_after = server.answers.pop(0)
        if not status:
            self.close_connection = True
            return
        self.send_response(abs(status))
        if retry_after:
            self.send_header("Retry-After", retry_after)
        self.send_header("Content-Length", "10" if status < 0 else "0")
        self.end_headers()
        if status < 0:
            self.wfile.write(b'{"')
            self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def busy() -> Iterator[Any]:
    with http.server.HTTPServer(("127.0.0.1", 0), Busy) as server:
        server.received = []  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def post(server: Any, *answers: tuple[int, str | None], key: str | None = "k", attempts: int = 5) -> int:
    server.answers = list(answers)
    with httpx.Client(transport=RetryingTransport(attempts=attempts, pause_seconds=0.001)) as client:
        headers = {} if key is None else {"Idempotency-Key": key}
        return client.post(f"http://127.0.0.1:{server.server_port}/", json={"amount": 1}, headers=headers).status_code


@pytest.mark.parametrize("first", [(0, None), (409, "0"), (429, "0"), (503, "0"), (503, None), (504, "Monday")])
def test_a_busy_service_is_asked_again_with_the_same_key_and_body(busy, first):
    assert post(busy, first, (0, None), (201, None)) == 201
    assert busy.received == [("k", b'{"amount":1}')] * 3


def test_an_answer_that_breaks_off_after_its_headers_is_asked_for_again(busy):
    assert post(busy, (-201, None), (201, None)) == 201
    assert busy.received == [("k", b'{"amount":1}')] * 2


@pytest.mark.parametrize("status", [200, 400, 409, 422, 500])
def test_a_decision_of_the_service_is_not_questioned(busy, status):
    assert post(busy, (status, None)) == status
    assert len(busy.received) == 1


def test_a_request_without_a_key_is_not_repeated(busy):
    assert post(busy, (503, "0"), key=None) == 503
    with pytest.raises(httpx.TransportError):
        post(busy, (0, None), key=None)
    assert len(busy.received) == 2


def test_the_last_answer_is_returned_and_the_last_error_raised(busy):
    assert post(busy, (503, "0"), (503, "0"), attempts=2) == 503
    with pytest.raises(httpx.TransportError):
        post(busy, (0, None), (0, None), attempts=2)


# --- At the real service -----------------------------------------------------------------------------------


@pytest.fixture
def generated(package: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.syspath_prepend(str(package))
    for name in ("", ".models", ".retries", ".api.transactions.create_transaction", ".api.fraud.try_fraud"):
        importlib.import_module(PACKAGE + name)
    yield sys.modules[PACKAGE]
    for name in [name for name in sys.modules if name.partition(".")[0] == PACKAGE]:
        del sys.modules[name]


class LosesFirstAnswer(httpx.HTTPTransport):
    lost: httpx.Response | None = None

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        response = super().handle_request(request)
        if self.lost is None:
            self.lost = response
            response.read()
            raise httpx.ReadError("The answer was lost.", request=request)
        return response


def connect(generated: Any, client: Any, api_key: str | None = None, **options: Any) -> Any:
    transport = RetryingTransport(pause_seconds=0.001, **options)
    token = api_key or client.api_key
    return generated.AuthenticatedClient(base_url=client.platform.url, token=token, httpx_args={"transport": transport})


@pytest.mark.processes
def test_a_payment_whose_answer_was_lost_is_made_once(generated, client):
    losing = LosesFirstAnswer()
    body = generated.models.PaymentInput(amount=1250, currency=generated.models.PaymentInputCurrency.EUR)

    with connect(generated, client, inner=losing) as connected:
        answer = generated.api.transactions.create_transaction.sync_detailed(
            client=connected, body=body, idempotency_key="once"
        )

    assert losing.lost is not None
    assert losing.lost.status_code == 201
    assert (answer.status_code, answer.headers["Idempotency-Replayed"]) == (200, "true")
    assert answer.parsed.status == "succeeded"
    assert answer.parsed.created_at.tzinfo is not None
    assert Transaction.objects.filter(merchant=client.merchant).count() == 1


@pytest.mark.processes
@pytest.mark.parametrize(
    ("amount", "api_key", "code"), [(0, None, "invalid_value"), (1, "fk_wrong", "invalid_api_key")]
)
def test_a_refusal_is_a_typed_problem(generated, client, amount, api_key, code):
    body = generated.models.PaymentInput(amount=amount, currency=generated.models.PaymentInputCurrency.EUR)

    with connect(generated, client, api_key) as connected:
        answer = generated.api.fraud.try_fraud.sync(client=connected, body=body)

    assert isinstance(answer, generated.models.ProblemDocument)
    assert answer.code == code


# --- Examples ----------------------------------------------------------------------------------------------

NODE, CURL = shutil.which("node"), shutil.which("curl")
PROGRAMS: dict[str, list[str]] = {
    "python": [sys.executable, "-c"],
    "javascript": [NODE or "node", "-e"],
    "sh": ["sh", "-euc"],
}


def skip_without(program: str | None, name: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(program is None, reason=f"{name} is not installed, so its example cannot be run")


@pytest.fixture(
    params=[
        "python",
        pytest.param("javascript", marks=skip_without(NODE, "Node")),
        pytest.param("sh", marks=skip_without(CURL, "curl")),
    ]
)
def example(request: pytest.FixtureRequest, package: Path, platform: Any) -> Any:
    (program,) = re.findall(rf"```{request.param}\n(.*?)```", DOCUMENT, re.DOTALL)

    def run(api_key: str) -> subprocess.CompletedProcess[str]:
        own = {"PAYMENTS_URL": platform.url, "PAYMENTS_API_KEY": api_key, "PYTHONPATH": str(package)}
        command = [*PROGRAMS[request.param], program]
        return subprocess.run(
            command, env={**os.environ, **own}, capture_output=True, text=True, timeout=60, check=False
        )

    return run


@pytest.mark.processes
def test_each_example_pays_and_refunds(example, client):
    done = example(client.api_key)

    assert (done.returncode, done.stdout) == (0, "payment succeeded\nrefund succeeded\n"), done.stderr
    assert Transaction.objects.get(merchant=client.merchant).amount == 1250
    assert Refund.objects.get(transaction__merchant=client.merchant).amount == 400


@pytest.mark.processes
def test_each_example_ends_with_the_problem_of_a_refusal(example, client):
    done = example("fk_wrong")

    assert done.returncode != 0
    assert "invalid_api_key" in done.stdout + done.stderr
