"""Steady traffic of merchants, with every answer checked.

    API_KEY_FILE=var/secrets/api_key locust -f loadtests/locustfile.py --headless

`LOAD_USERS` (5) merchants run `LOAD_RATE` (1) tasks a second each; Locust's own --users, --spawn-rate and --run-time
take precedence. The key comes from API_KEY or API_KEY_FILE.
"""

import sys
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from random import Random
from typing import Any
from uuid import uuid4

from locust import FastHttpUser, constant_pacing, events, task

from fintech.env import SettingError, integer, number, text
from fintech.telemetry.logging import write_json_lines
from loadtests import answer_checks
from loadtests.answer_checks import Answer, WrongAnswer
from loadtests.random_payments import Payment, new_payment, ordinary

try:
    API_KEY = text("API_KEY")
    USERS = integer("LOAD_USERS", 5, least=1)
    RATE = number("LOAD_RATE", 1, least=0.001)
except SettingError as error:
    sys.exit(f"error: {error}")

# Only with --skip-log-setup; otherwise Locust replaces this with its own.
write_json_lines("WARNING")

MAX_ATTEMPTS = 5
MAX_PAUSE_SECONDS = 5.0  # seconds between two attempts
TRY_AGAIN = (0, 429, 503)  # 0: the connection broke, so the result is unknown
SETTLED_WITHIN = 30.0  # seconds after which no payment may be unknown
PAYMENTS = "/v1/transactions"
BATCH = 20
PAGE = 50

# Raises WrongAnswer. For a POST it takes `first`, too: no earlier attempt can have had an effect.
Check = Callable[..., None]


@events.init_command_line_parser.add_listener
def steady_by_default(parser: Any) -> None:
    parser.set_defaults(num_users=USERS, spawn_rate=USERS)


def read(response: Any) -> Answer:
    try:
        body = response.json()
    except (TypeError, ValueError):
        body = None
    return Answer(response.status_code, response.headers or {}, body)


def seconds_to_wait(answer: Answer, attempt: int) -> float:
    """Return the delay that the service requests, or twice the previous one; bounded."""
    asked = answer.headers.get("Retry-After", "")
    return min(MAX_PAUSE_SECONDS, float(asked) if asked.isdigit() else 0.2 * 2**attempt)


class Merchant(FastHttpUser):
    """A merchant who sells all day: mostly single payments, sometimes a lookup, a replay, a refund, a list or a batch.

    Runs LOAD_RATE tasks a second, counted from start to start; a batch is one task with BATCH payments. A task that
    needs an earlier payment makes one if there is none, so that each task sends a request. A decline, a block and a
    technical failure are outcomes that the service reports with 201, not failures of the test. Failures are a wrong
    answer, a broken connection, 429 and 503. After the latter three the merchant sends the same request again with the
    same key, at most MAX_ATTEMPTS times, as a client must.
    """

    host = "http://127.0.0.1:5000"
    wait_time = constant_pacing(1 / RATE)  # seconds
    connection_timeout = 5.0
    network_timeout = 30.0

    def on_start(self) -> None:
        self.random = Random()
        self.headers = {"Authorization": f"Bearer {API_KEY}"}
        self.payments: deque[Payment] = deque(maxlen=200)

    @task(68)
    def pay(self) -> None:
        payment = self.new_payment()
        if self.post(PAYMENTS, payment.body, partial(answer_checks.check_created, payment), key=payment.key):
            self.payments.append(payment)

    @task(8)
    def pay_again_with_the_same_key(self) -> None:
        if payment := self.earlier_payment():
            check = partial(answer_checks.check_replay, payment)
            self.post(PAYMENTS, payment.body, check, key=payment.key, name=f"{PAYMENTS} (replay)")

    @task(12)
    def look(self) -> None:
        if payment := self.earlier_payment():
            settled = time.monotonic() - payment.asked_at > SETTLED_WITHIN
            check = partial(answer_checks.check_found, payment, settled=settled)
            self.get(f"{PAYMENTS}/{payment.id}", check, name=f"{PAYMENTS}/{{id}}")

    @task(3)
    def find_by_key(self) -> None:
        if payment := self.earlier_payment():
            path, check = f"{PAYMENTS}?idempotency_key=", partial(answer_checks.check_only_one, payment)
            self.get(path + payment.key, check, name=path)

    @task(3)
    def look_through_the_list(self) -> None:
        if self.earlier_payment():
            path = f"{PAYMENTS}?limit={PAGE}"
            self.get(path, partial(answer_checks.check_list, limit=PAGE), name=path)

    @task(5)
    def refund_a_part(self) -> None:
        refundable = [payment for payment in self.payments if payment.left]
        if not refundable:
            self.pay()
            return
        payment = self.random.choice(refundable)
        amount = ordinary(self.random.randint(1, payment.left))
        payment.refunded += amount
        path, check = f"{PAYMENTS}/{payment.id}/refunds", partial(answer_checks.check_refund, payment, amount)
        self.post(path, {"amount": amount}, check, key=str(uuid4()), name=f"{PAYMENTS}/{{id}}/refunds")

    @task(1)
    def pay_in_a_batch(self) -> None:
        payments = [self.new_payment() for _ in range(BATCH)]
        items = [payment.body | {"idempotency_key": payment.key} for payment in payments]
        if self.post(f"{PAYMENTS}/batch", {"items": items}, partial(answer_checks.check_batch, payments)):
            self.payments.extend(payments)

    def earlier_payment(self) -> Payment | None:
        """Return one of our payments. Without any, make one and return None."""
        if self.payments:
            return self.random.choice(self.payments)
        self.pay()
        return None

    def new_payment(self) -> Payment:
        payment = new_payment(self.random)
        payment.asked_at = time.monotonic()
        return payment

    def post(
        self, path: str, body: dict[str, Any], check: Check, *, key: str | None = None, name: str | None = None
    ) -> bool:
        """Post until the answer can be judged. Return True if it was correct. Without `key` the body has keys."""
        headers = self.headers if key is None else self.headers | {"Idempotency-Key": key}
        for attempt in range(MAX_ATTEMPTS):
            with self.client.post(path, json=body, headers=headers, name=name, catch_response=True) as response:
                answer = read(response)
                in_flight = answer.status == 409 and attempt > 0  # our own attempt whose answer was lost
                if in_flight:
                    response.success()
                elif answer.status not in TRY_AGAIN:
                    return self.judge(response, partial(check, answer, first=attempt == 0))
            time.sleep(seconds_to_wait(answer, attempt))  # Locust delays only this user
        return False

    def get(self, path: str, check: Check, *, name: str) -> None:
        with self.client.get(path, headers=self.headers, name=name, catch_response=True) as response:
            answer = read(response)
            if answer.status not in TRY_AGAIN:
                self.judge(response, partial(check, answer))

    @staticmethod
    def judge(response: Any, check: Callable[[], None]) -> bool:
        try:
            check()
        except (WrongAnswer, KeyError, TypeError, ValueError) as error:  # the latter: the shape itself is wrong
            response.failure(f"{type(error).__name__}: {error}")
            return False
        response.success()
        return True
