"""A platform with its own PostgreSQL server and gateway simulator, which nothing else uses.

For drills, and for tests that restart the database or need to know every payment in it. Used from outside: over HTTP,
by management commands, and by SQL over a separate connection.
"""

import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from fintech.run.postgres import EmbeddedPostgres
from fintech.secret_files import webhook_secret
from fintech.testing.databases import server_with_accounts, session_folder
from fintech.testing.processes import BASE_DIR, Platform, Reply
from loadtests.guard import guarded
from loadtests.tests.simulator import Simulator, running_gateway


class OwnPlatform:
    """`pay` and its like speak for one merchant."""

    def __init__(self, server: EmbeddedPostgres, gateway: Simulator, platform: Platform, api_key: str) -> None:
        self.server, self.gateway, self.platform, self.api_key = server, gateway, platform, api_key

    def pay(self, amount: int = 1250, currency: str = "EUR", *, key: str | None = None, timeout: float = 30) -> Reply:
        body = {"amount": amount, "currency": currency, "customer": "c_1"}
        key = key or secrets.token_hex(12)
        path = "/v1/transactions"
        return self.platform.request("POST", path, body, api_key=self.api_key, key=key, timeout=timeout)

    def refund(self, payment: str, amount: int, *, key: str) -> Reply:
        path = f"/v1/transactions/{payment}/refunds"
        return self.platform.request("POST", path, {"amount": amount}, api_key=self.api_key, key=key)

    def pay_batch(self, payments: Sequence[tuple[int, str]]) -> Reply:
        items = [
            {"amount": amount, "currency": currency, "idempotency_key": secrets.token_hex(12)}
            for amount, currency in payments
        ]
        return self.platform.request("POST", "/v1/transactions/batch", {"items": items}, api_key=self.api_key)

    def query(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.server.url("postgres", "fintech"), autocommit=True) as connection:
            return connection.execute(statement, values or None).fetchall()

    def manage(self, *arguments: str) -> tuple[int, str]:
        """Run a management command. Return its exit code and its output."""
        return manage(self.platform.env, *arguments)


@contextmanager
def own_platform(
    directory: Path, *, postgres: Mapping[str, str], workers: int = 2, env: Mapping[str, str] | None = None
) -> Iterator[OwnPlatform]:
    """`postgres` are the server's settings; without any, it is as durable as in production."""
    # Not below the test's directory: the server's account could not pass through it.
    with (
        tempfile.TemporaryDirectory(prefix="own-", dir=session_folder()) as place,
        running_gateway(directory) as gateway,
    ):
        server = server_with_accounts(Path(place), postgres, directory)
        try:
            server.start()
            own = {**server.urls("fintech"), "AUDIT_DIR": str(directory / "audit"), **(env or {})}
            platform = Platform(directory, gateway=gateway, workers=workers, env=own)
            with platform:
                yield OwnPlatform(server, gateway, platform, (directory / "api_key").read_text().strip())
        finally:
            server.stop("immediate")


def manage(env: Mapping[str, str], *arguments: str) -> tuple[int, str]:
    command: Sequence[str] = [sys.executable, "manage.py", *arguments]
    done = subprocess.run(
        command, cwd=BASE_DIR, env={**os.environ, **env}, capture_output=True, text=True, timeout=120, check=False
    )
    return done.returncode, done.stdout or done.stderr


@contextmanager
def own_folder() -> Iterator[Path]:
    """Create a folder for platforms outside of tests, and the secrets that their programs read from the environment.

    If this process is killed, its guard ends the programs.
    """
    folder = Path(tempfile.gettempdir(), f"fintech-drill-{secrets.token_hex(4)}-{os.getpid()}")
    folder.mkdir(mode=0o700)
    for name in ("DJANGO_SECRET_KEY", "GATEWAY_TOKEN", "GATEWAY_CONTROL_TOKEN", "METRICS_TOKEN", "ALERT_TOKEN"):
        os.environ.pop(f"{name}_FILE", None)
        os.environ[name] = secrets.token_urlsafe(40)
    os.environ.pop("GATEWAY_WEBHOOK_SECRET_FILE", None)
    os.environ["GATEWAY_WEBHOOK_SECRET"] = webhook_secret()
    os.environ |= {"HTTPS": "False", "RUNTIME_DIR": str(folder / "runtime"), "AUDIT_DIR": str(folder / "audit")}
    with guarded(folder):
        yield folder
