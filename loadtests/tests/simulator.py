"""The real gateway simulator for a test: `with running_gateway(tmp_path) as gateway: ...`."""

import http.client
import json
import os
import secrets
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from fintech.testing.processes import free_port
from loadtests.gateway.profile import Profile

ROOT = Path(__file__).resolve().parents[2]


class Answer(NamedTuple):
    status: int
    body: dict[str, Any]
    replayed: bool = False


class Simulator:
    """A simulator process on a port of its own, also while it does not run."""

    module = "loadtests.gateway"

    def __init__(self, data: Path, **env: str) -> None:
        self.data = data
        self.token = env.setdefault("GATEWAY_TOKEN", secrets.token_urlsafe(16))
        self.control_token = env.setdefault("GATEWAY_CONTROL_TOKEN", secrets.token_urlsafe(16))
        self.port = free_port()
        self._env = os.environ | env
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None
        self.lines: list[str] = []  # the log since the start, complete after `stop` or `kill`

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def process(self) -> subprocess.Popen[str]:
        assert self._process is not None, "the simulator is not running"
        return self._process

    def start(self) -> None:
        assert self._process is None, "the simulator is running already"
        command = [
            sys.executable,
            "-m",
            self.module,
            "--port",
            str(self.port),
            "--data",
            str(self.data),
        ]
        self._process = subprocess.Popen(command, cwd=ROOT, env=self._env, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        started = json.loads(self._process.stdout.readline() or '{"event": "died, see its standard error"}')
        assert started["event"] == "gateway_listening", started
        # Each change of the profile is a line: a full pipe would block the simulator.
        self._reader = threading.Thread(target=self.lines.extend, args=(self._process.stdout,), daemon=True)
        self._reader.start()

    def kill(self) -> None:
        """SIGKILL: no clean-up of any kind."""
        self.process.kill()
        self._end()

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        self.process.terminate()
        return self._end()

    def restart(self) -> None:
        """A new process with the same data and port; the old one is killed if it still runs."""
        if self._process is not None:
            self.kill()
        self.start()

    def _end(self) -> int:
        code = self.process.wait(timeout=10)
        assert self._reader is not None, "the simulator is not running"
        self._reader.join()
        assert self.process.stdout is not None
        self.process.stdout.close()
        self._process = None
        return code

    def request(self, method: str, path: str, body: object = None, **headers: str | None) -> Answer:
        """Raises OSError or HTTPException when the connection is dropped. `headers` are those of `send`."""
        return self.receive(self.send(method, path, body, **headers))

    def send(
        self, method: str, path: str, body: object = None, *, token: str | None = None, key: str | None = None
    ) -> http.client.HTTPConnection:
        """Sends a request; `receive` waits for its answer. A body of bytes is sent as it is."""
        headers = {"Authorization": f"Bearer {self.token if token is None else token}"}
        if key is not None:
            headers["Idempotency-Key"] = key
        content = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request(method, path, content, headers)
        return connection

    def receive(self, connection: http.client.HTTPConnection) -> Answer:
        with closing(connection):
            response = connection.getresponse()
            replayed = response.getheader("Idempotency-Replayed") == "true"
            return Answer(response.status, json.loads(response.read()), replayed)

    def hold_charge(self, key: str, amount: int, currency: str = "EUR") -> http.client.HTTPConnection:
        """A charge that the gateway has read, but not answered."""
        held = self.send("POST", "/v1/charges", {"amount": amount, "currency": currency}, key=key)
        for _ in range(2):  # two whole round trips that began later: its loop has been through the first request
            self.request("GET", "/health")
        return held

    def post_charge(self, key: str, amount: int, currency: str = "EUR") -> Answer:
        return self.request("POST", "/v1/charges", {"amount": amount, "currency": currency}, key=key)

    def post_refund(self, key: str, charge: str, amount: int, currency: str = "EUR") -> Answer:
        body = {"charge": charge, "amount": amount, "currency": currency}
        return self.request("POST", "/v1/refunds", body, key=key)

    def charge(self, key: str) -> dict[str, Any]:
        """The gateway's record of our key: `{"outcome": "not_found"}` where there is none."""
        return self.request("GET", f"/v1/charges/{key}").body

    def refund(self, key: str) -> dict[str, Any]:
        return self.request("GET", f"/v1/refunds/{key}").body

    def outcome(self, kind: str, key: str, *, payment: str = "") -> str:
        """Return the outcome of an operation; `payment` is the key of the payment that a capture or void is of."""
        return str(self.request("GET", f"/v1/{kind}s/{key}").body["outcome"])

    def cancel(self, key: str, kind: str = "charge") -> Answer:
        return self.request("POST", f"/v1/{kind}s/{key}/cancel")

    def profile(self, **changes: Any) -> dict[str, Any]:
        """Changes these fields of the fault profile and answers the whole of it."""
        answer = self.request("PATCH", "/control/profile", changes, token=self.control_token)
        assert answer.status == 200, answer
        return answer.body

    def reset_profile(self, **fields: Any) -> None:
        """Set these fields of the fault profile, and all others to their defaults."""
        self.profile(**Profile(**fields).to_fields())

    def totals(self) -> dict[str, dict[str, int]]:
        return self.request("GET", "/v1/totals").body["currencies"]

    def records(self) -> list[dict[str, Any]]:
        """All the money that moved, in order."""
        found: list[dict[str, Any]] = []
        after: int | None = 0
        while after is not None:
            page = self.request("GET", f"/v1/records?after={after}").body
            found += page["records"]
            after = page["next"]
        return found


class FakeStripe(Simulator):
    """The fake of Stripe; the methods of the simulator's own interface do not apply to it."""

    module = "loadtests.stripe"

    def __init__(self, data: Path, **env: str) -> None:
        env.setdefault("STRIPE_API_KEY", f"sk_test_{secrets.token_hex(12)}")
        super().__init__(data, GATEWAY_TOKEN=env["STRIPE_API_KEY"], **env)

    def outcome(self, kind: str, key: str, *, payment: str = "") -> str:
        """Return it in the simulator's words, by what the objects show of the operation."""
        listed = "refunds" if kind == "refund" else "payment_intents"
        objects = self.request("GET", f"/v1/{listed}?limit=1000").body["data"]
        wanted = payment if kind in ("capture", "void") else key
        for item in (one for one in objects if wanted in (one["metadata"].get("key"), one["metadata"].get("fence"))):
            if kind == "capture":
                return "approved" if f"capture_{key.replace('-', '')}" in item["metadata"] else "not_found"
            if kind == "void":
                return "approved" if item["status"] == "canceled" else "not_found"
            if "fence" in item["metadata"] or item["status"] == "canceled":
                return "cancelled"
            return {"succeeded": "approved", "requires_capture": "approved"}.get(item["status"], item["status"])
        return "not_found"

    def let_search_lag(self, lags: bool) -> None:
        assert self.request("PUT", "/control/search", {"lags": lags}, token=self.control_token).status == 200

    def forget_keys(self) -> None:
        """Forget the idempotency keys, as Stripe does after a day."""
        assert self.request("POST", "/control/forget", {}, token=self.control_token).status == 200

    def events_after(self, number: int) -> list[dict[str, Any]]:
        """Return the later events of all objects, each as `seq` and `event`."""
        return list(self.request("GET", f"/control/events?after={number}", token=self.control_token).body["events"])


Process = TypeVar("Process", bound=Simulator)


@contextmanager
def running_gateway(tmp_path: Path, **env: str) -> Iterator[Simulator]:
    """`env` adds to the process's environment; both tokens are random by default."""
    with running(Simulator(tmp_path / "gateway.sqlite3", **env)) as gateway:
        yield gateway


@contextmanager
def running(gateway: Process) -> Iterator[Process]:
    gateway.start()
    try:
        yield gateway
    finally:
        if gateway._process is not None:
            gateway.kill()
