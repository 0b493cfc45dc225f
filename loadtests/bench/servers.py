"""The contenders: each a server on its own port, over one PostgreSQL with durable settings."""

import os
import secrets
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

from fintech.run import interruption
from fintech.run.postgres import EmbeddedPostgres
from fintech.testing.processes import Program, answers, free_port
from loadtests.tests.simulator import Simulator

# On two cores two processes are the best number for ours and for the FastAPI contenders.
WORKERS = 2
PYTHON = sys.executable


def is_chosen(name: str, only: Sequence[str] | None) -> bool:
    """Return True if the name contains one of these texts, or if there is none."""
    return not only or any(text in name for text in only)


@dataclass
class World:
    """The shared parts of a benchmark: database, gateway, a merchant's key, and the started servers."""

    directory: Path
    database: EmbeddedPostgres
    gateway: Simulator
    api_key: str
    merchant_id: int
    ports: dict[str, int] = field(default_factory=dict)
    pids: dict[str, int] = field(default_factory=dict)

    @property
    def database_pid(self) -> int:
        pid = self.database.pid()
        assert pid is not None
        return pid

    def environment(self, name: str) -> dict[str, str]:
        return {
            "BENCH_MERCHANT": str(self.merchant_id),
            "GATEWAY_URL": self.gateway.url,
            "GATEWAY_TOKEN": self.gateway.token,
            "WEB_CONCURRENCY": str(WORKERS),
            "RUNTIME_DIR": str(self.directory / name),
            "THROTTLE_RATE": "1000000",
            "THROTTLE_BURST": "1000000",
        }

    @contextmanager
    def server(self, name: str, command: list[str], path: str, env: Mapping[str, str]) -> Iterator[None]:
        """Run `command`, in which {port} is filled in, until the block ends."""
        port = free_port()
        words = [word.format(port=port) for word in command]
        environment = {**self.environment(name), "BIND": f"127.0.0.1:{port}", **env}
        program = Program(words, log=self.directory / f"{name}.log", env=environment)
        program.start(ready=lambda: answers(port, path))
        self.ports[name], self.pids[name] = port, program.pid
        try:
            yield
        finally:
            program.stop()
            program.kill()


def start_ours(world: World, name: str, **env: str) -> AbstractContextManager[None]:
    application = "loadtests.bench.null_gateway"
    command = [PYTHON, "-m", "gunicorn", "-c", "fintech/server/gunicorn.py", application]
    return world.server(name, command, "/health", env)


class TraceSink(BaseHTTPRequestHandler):
    """A collector that accepts all spans and keeps none."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def start_traced(world: World, name: str, **env: str) -> Iterator[None]:
    with ThreadingHTTPServer(("127.0.0.1", 0), TraceSink) as sink:
        Thread(target=sink.serve_forever, daemon=True).start()
        with start_ours(world, name, OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{sink.server_port}", **env):
            yield
        sink.shutdown()


def start_tutorial(world: World, name: str, **env: str) -> AbstractContextManager[None]:
    command = [PYTHON, "-m", "gunicorn", "-w", str(WORKERS), "-b", "127.0.0.1:{port}", "loadtests.bench.tutorial"]
    return world.server(name, command, "/sales/?format=json", env)


def start_fastapi(world: World, name: str, **env: str) -> AbstractContextManager[None]:
    metrics = world.directory / f"{name}-metrics"
    metrics.mkdir()
    command = [PYTHON, "-m", "uvicorn", "loadtests.bench.fastapi_app:app", "--port", "{port}"]
    command += ["--workers", str(WORKERS), "--no-access-log", "--log-level", "warning"]
    return world.server(name, command, "/openapi.json", {"PROMETHEUS_MULTIPROC_DIR": str(metrics), **env})


@contextmanager
def make_world(directory: Path) -> Iterator[World]:
    """Start PostgreSQL, migrated, the simulator, and create a merchant. Also sets the environment of this process."""
    interruption.install()  # servers have groups of their own: only the blocks that started them end them
    with ExitStack() as stack:
        database = EmbeddedPostgres(directory / "postgres", settings={"max_connections": "300"})
        database.start()
        stack.callback(database.stop, "immediate")
        database.ensure_database("bench")
        urls = ask_for_passwords(database)
        os.environ |= {
            "DJANGO_SETTINGS_MODULE": "fintech.settings",
            "DJANGO_SECRET_KEY": secrets.token_urlsafe(50),
            **urls,
            "GATEWAY_TOKEN": secrets.token_urlsafe(16),
            "METRICS_TOKEN": "open",
            "ALERT_TOKEN": secrets.token_urlsafe(16),
            "HTTPS": "False",
            "RUNTIME_DIR": str(directory / "runtime"),
        }
        gateway = Simulator(directory / "gateway.sqlite3")
        gateway.start()
        stack.callback(gateway.kill)
        merchant_id, api_key = _make_merchant()
        yield World(directory, database, gateway, api_key, merchant_id)


def ask_for_passwords(database: EmbeddedPostgres) -> dict[str, str]:
    """Require SCRAM passwords from the roles, as in production. Return their addresses, as settings.

    A client that connects once pays for that once; one that connects for every request pays every time.
    """
    import psycopg
    from psycopg import sql

    password = secrets.token_urlsafe(16)
    with psycopg.connect(database.url("postgres", "bench"), autocommit=True) as connection:
        for role in ("owner", "app"):
            change = sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(role), sql.Literal(password))
            connection.execute(change)
        rules = database.data_dir / "pg_hba.conf"
        rules.write_text(f"local all owner,app scram-sha-256\n{rules.read_text()}")
        connection.execute("SELECT pg_reload_conf()")
    return {name: url.replace("@", f":{password}@", 1) for name, url in database.urls("bench").items()}


def _make_merchant() -> tuple[int, str]:
    import django

    django.setup()
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    from payments.api_keys import create_api_key
    from payments.models import ApiKey, Merchant

    merchant = Merchant.objects.create(name="Bench", country="DE")
    _, secret = create_api_key(merchant=merchant, name="bench", scopes=list(ApiKey.Scope.values))
    return merchant.pk, secret
