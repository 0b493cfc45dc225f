"""A real PgBouncer in transaction mode between the web and its database."""

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest

from fintech.database.connections import open_connection
from fintech.settings import TIMEOUTS
from fintech.testing.databases import drop_database, own_database, session_server
from fintech.testing.pooler import PGBOUNCER, pooled
from fintech.testing.processes import Platform, Reply, wait_until
from loadtests.own_platform import manage
from loadtests.tests.simulator import running_gateway

needs_pgbouncer = pytest.mark.skipif(PGBOUNCER is None, reason="PgBouncer is not installed (apt install pgbouncer)")


def test_the_role_has_the_timeouts_of_the_application_without_any_option():
    """Through a pooler the limits of a connection's `options` are gone, and a statement could run for hours."""
    with psycopg.connect(session_server().url("app", "fintech")) as connection:
        for name, value in TIMEOUTS.items():
            assert connection.execute("SELECT current_setting(%s)", [name]).fetchone() == (value,)


def test_the_owner_has_no_limit_from_the_application():
    with psycopg.connect(session_server().url("owner", "fintech")) as connection:
        assert connection.execute("SHOW statement_timeout").fetchone() == ("0",)


def test_without_a_session_address_every_connection_leads_to_the_database_itself():
    with open_connection("test") as connection:
        assert connection.execute("SHOW statement_timeout").fetchone() == ("5s",)


class Pooled:
    """A platform whose web reads through PgBouncer, which refuses every unknown startup parameter."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self.database = own_database()
        stack.callback(drop_database, self.database)
        server, self.pooler = session_server(), stack.enter_context(ExitStack())
        env = {
            "DATABASE_URL": self.pooler.enter_context(pooled(self.database, ignored="extra_float_digits")),
            "DATABASE_SESSION_URL": server.url("app", self.database),
            "DATABASE_OWNER_URL": server.url("owner", self.database),
            "AUDIT_DIR": str(directory / "audit"),
        }
        gateway = stack.enter_context(running_gateway(directory))
        self.platform = Platform(directory, gateway=gateway, workers=2, env=env)
        code, printed = manage(self.platform.env, "bootstrap", f"--out={directory}")
        assert code == 0, printed
        stack.enter_context(self.platform)
        self.key = (directory / "api_key").read_text().strip()

    def pay(self, key: str) -> Reply:
        body = {"amount": 1250, "currency": "EUR", "customer": "c_1"}
        return self.platform.request("POST", "/v1/transactions", body, api_key=self.key, key=key)

    def listed(self) -> Reply:
        return self.platform.request("GET", "/v1/transactions", api_key=self.key)

    def query(self, statement: str) -> list[tuple[object, ...]]:
        with psycopg.connect(session_server().url("postgres", self.database), autocommit=True) as connection:
            return connection.execute(statement).fetchall()


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Pooled]:
    with ExitStack() as stack:
        yield Pooled(tmp_path, stack)


@needs_pgbouncer
@pytest.mark.processes
def test_a_pooler_refuses_the_options_of_a_direct_connection():
    with (
        pooled("fintech", ignored="extra_float_digits") as url,
        pytest.raises(psycopg.OperationalError, match="unsupported startup parameter"),
    ):
        psycopg.connect(url, options="-c statement_timeout=5s")


@needs_pgbouncer
@pytest.mark.processes
def test_payments_reads_and_the_trail_work_while_the_web_reads_through_a_pooler(own):
    assert [own.pay(f"k-{number}").status for number in range(10)] == [201] * 10
    assert own.pay("k-0").headers["Idempotency-Replayed"] == "true"
    assert len(own.listed().body["data"]) == 10

    log = own.platform.web.output()
    (line,) = [json.loads(line) for line in log.splitlines() if '"database_connections"' in line]
    assert (line["this_host"], line["level"]) == (2 * (1 + 4 + 1), "INFO")

    # What needs a session has one: writers, the leader's lock, and the locks of sealing and verifying.
    # The pooler has one connection, so more of them at once are direct.
    def sessions() -> Counter[str]:
        names = own.query("SELECT DISTINCT application_name FROM pg_stat_activity WHERE datname = current_database()")
        return Counter(str(name).partition(" ")[0] for (name,) in names)

    wait_until(lambda: (sessions()["writer"], sessions()["leader"]) == (3, 1), what=lambda: f"3 and 1: {sessions()}")
    wait_until(lambda: own.query("SELECT 1 FROM alerts_audit_checkpoint LIMIT 1"), timeout=60, what="a checkpoint")
    for command in ("audit_ledger", "reconcile", "verify_audit"):
        code, printed = manage(own.platform.env, command)
        assert code == 0, printed
    with psycopg.connect(own.platform.env["DATABASE_URL"], autocommit=True) as connection:
        connection.prepare_threshold = None
        assert connection.execute("SHOW statement_timeout").fetchone() == ("5s",)

    own.pooler.close()
    assert own.listed().status == 503, "lists go through the pooler"
