"""Faults of the gateway, of the merchants' traffic, and of the processes that take payments."""

import http.client
import secrets
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from fintech.testing.processes import Load, Platform, free_port, wait_until
from loadtests.drill.lab import Drill, Traffic

NEVER = 1e9  # seconds
DAY = 86_400  # seconds
LOST_REPLY = 12_922  # minor units; the simulator charges such an amount and loses its reply


def profile(**changes: float) -> Callable[[Drill], object]:
    """Change the gateway simulator's faults."""
    return lambda drill: drill.gateway.profile(**changes)


def gateway_fault(**changes: float) -> tuple[Callable[[Drill], object], Callable[[Drill], object]]:
    """Return the begin and the end of a fault of the simulator: these values, then those of before."""

    def begin(drill: Drill) -> None:
        current = drill.gateway.profile()
        drill.before = {name: current[name] for name in changes}
        drill.gateway.profile(**changes)

    return begin, lambda drill: drill.gateway.profile(**drill.before)


def change(**fields: object) -> Callable[[Drill], object]:
    """Change these fields of all new payments."""
    return lambda drill: drill.traffic.changes.update(fields)


def change_nothing(drill: Drill) -> None:
    drill.traffic.changes.clear()


def pause(seconds: float) -> Callable[[Drill], object]:
    """Let each merchant wait so long between two payments."""
    return lambda drill: setattr(drill.traffic, "pause_seconds", seconds)


def end_more(drill: Drill) -> None:
    drill.more.close()


# --- The gateway -----------------------------------------------------------------------------------------------


def lose_an_outcome(drill: Drill) -> None:
    """Charge a payment, lose the reply, and let the gateway answer no questions about it."""
    drill.gateway.profile(cancel_fails=True)
    assert drill.own.pay(LOST_REPLY).status == 202


def dispute(drill: Drill, number: int, seconds: int) -> None:
    """Let the bank dispute the newest payments, with evidence that is due after `seconds`."""
    drill.gateway.profile(events_url=f"{drill.own.platform.url}/gateway/events")
    keys = drill.own.query(
        "SELECT gateway_key FROM payments_transaction WHERE status = 'succeeded' AND NOT manual_capture"  # noqa: S608
        f" AND amount_reserved = 0 ORDER BY id DESC LIMIT {number}"
    )
    for (key,) in keys:
        body = {"charge": str(key), "evidence_seconds": seconds}
        answer = drill.gateway.request("POST", "/control/disputes", body, token=drill.gateway.control_token)
        assert answer.status == 201, answer


def dispute_one(drill: Drill) -> None:
    """Dispute one payment, with evidence that is due after a day of the rules' time."""
    dispute(drill, 1, round(DAY / drill.conditions.speed))


def dispute_many(drill: Drill) -> None:
    """Dispute 5 % of the payments, so that more than 1 % stay disputed while merchants go on to pay."""
    ((payments,),) = drill.own.query("SELECT count(*) FROM payments_transaction WHERE status = 'succeeded'")
    dispute(drill, max(5, payments // 20), 30 * DAY)


def lose_disputes(drill: Drill) -> None:
    """Let the bank decide the disputes that need a response."""
    for (key,) in drill.own.query("SELECT gateway_key FROM payments_dispute WHERE status = 'needs_response'"):
        path = f"/control/disputes/{key}"
        drill.gateway.request("POST", path, {"state": "lost"}, token=drill.gateway.control_token)


def refuse_decisions(drill: Drill) -> None:
    """Let the bank decide a dispute while the worker may not change disputes: no money moves, and the event waits."""
    dispute(drill, 1, 30 * DAY)
    waiting = "SELECT 1 FROM payments_dispute WHERE status = 'needs_response'"
    wait_until(lambda: drill.own.query(waiting), timeout=60, what="the dispute needs a response")
    drill.execute("REVOKE UPDATE ON payments_dispute FROM app")
    lose_disputes(drill)


def hold_one_for_review(drill: Drill) -> None:
    """Let the merchant review suspicious payments until one is held. Its authorization lasts for less than a day."""
    threshold = "UPDATE payments_merchant SET review_threshold = "
    drill.execute(f"{threshold} 0.5")
    wait_until(partial(_is_held, drill), timeout=60, what="a payment is held for a review")
    drill.execute(f"{threshold} NULL")


def _is_held(drill: Drill) -> bool:
    body = {"amount": 1250, "currency": "EUR", "payment_method": {"type": "card", "token": "tok_risky"}}
    key = secrets.token_hex(12)
    reply = drill.own.platform.request("POST", "/v1/transactions", body, api_key=drill.own.api_key, key=key)
    return bool(reply.body["status"] == "in_review")


def refuse_reviews(drill: Drill) -> None:
    for (payment,) in drill.own.query("SELECT id FROM payments_transaction WHERE status = 'in_review'"):
        path = f"/v1/transactions/{payment}/review"
        body, key = {"decision": "refuse"}, secrets.token_hex(12)
        assert drill.own.platform.request("POST", path, body, api_key=drill.own.api_key, key=key).status == 201


# --- Traffic -----------------------------------------------------------------------------------------------------


class Batches(Load):
    """Merchants that send one batch after the other. Batches of one size would all end at the same time."""

    SIZES = range(60, 121, 10)

    def __init__(self, drill: Drill) -> None:
        super().__init__([partial(self._send, size) for size in self.SIZES])
        self._drill = drill

    def _send(self, size: int) -> None:
        while not self.stopped.is_set():
            with suppress(OSError, http.client.HTTPException):
                self._drill.own.pay_batch([(1250, "EUR")] * size)


def send_batches(drill: Drill) -> None:
    """Let merchants send batches that a slow gateway settles at about 100 payments a second. A batch takes six seconds,
    so about 600 payments are open at any time.
    """
    drill.gateway.profile(latency_ms=300)
    drill.more.enter_context(Batches(drill))


def crowd(drill: Drill) -> None:
    """Let as many merchants pay at once as the web can serve, with a slow gateway."""
    drill.gateway.profile(latency_ms=700)
    drill.more.enter_context(Traffic(drill.own, merchants=20, pause_seconds=0.01))


def end_slow_crowd(drill: Drill) -> None:
    drill.more.close()
    drill.gateway.profile(latency_ms=0)


def send_too_much(drill: Drill) -> None:
    """Let a merchant's integration send requests in a loop."""
    drill.more.enter_context(Traffic(drill.own, merchants=5, pause_seconds=0.01))


# --- Webhooks ----------------------------------------------------------------------------------------------------


def register_endpoint(drill: Drill, url: str) -> None:
    reply = drill.own.platform.request("POST", "/v1/webhook-endpoints", {"url": url}, api_key=drill.own.api_key)
    assert reply.status == 201, reply.body


def register_dead_endpoints(drill: Drill) -> None:
    """Register endpoints at a port on which nothing listens: the way out is broken for all of them."""
    port = free_port()
    for number in range(12):
        register_endpoint(drill, f"http://127.0.0.1:{port}/{number}")


def refuse_attempts(drill: Drill) -> None:
    """Let the worker send webhooks to our own health check, and not store the results."""
    drill.execute("REVOKE INSERT ON payments_webhookattempt FROM app")
    register_endpoint(drill, f"{drill.own.platform.url}/health")


def disable_endpoints(drill: Drill) -> None:
    """End the fault, and send no more webhooks to the endpoints that it registered."""
    drill.execute("GRANT INSERT ON payments_webhookattempt TO app")
    path = "/v1/webhook-endpoints"
    for endpoint in drill.own.platform.request("GET", path, api_key=drill.own.api_key).body["data"]:
        change = {"enabled": False}
        drill.own.platform.request("PATCH", f"{path}/{endpoint['id']}", change, api_key=drill.own.api_key)


# --- Processes -----------------------------------------------------------------------------------------------------


def stop_worker(drill: Drill) -> None:
    assert drill.own.platform.worker is not None
    drill.own.platform.worker.kill()


def restart(drill: Drill) -> None:
    drill.own.platform.start()


def kill_gateway(drill: Drill) -> None:
    drill.gateway.kill()


def start_second_host(drill: Drill) -> None:
    """Start a web on another host, whose exporter does not answer, and pay there."""
    directory = drill.monitoring.directory / "second"
    directory.mkdir()
    database = {name: drill.own.platform.env[name] for name in ("DATABASE_URL", "DATABASE_OWNER_URL")}
    second = Platform(directory, gateway=drill.gateway, workers=1, worker=False, env=database)
    drill.more.enter_context(second)
    second.metrics.kill()
    body = {"amount": 1250, "currency": "EUR"}
    request = partial(second.request, "POST", "/v1/transactions", body, api_key=drill.own.api_key)
    assert request(key=secrets.token_hex(12)).status == 201
