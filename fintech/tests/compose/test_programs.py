"""The programs that only containers run: secrets, roles, health check."""

import http.server
import json
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from fintech.compose import healthcheck, migrate, roles, secrets
from fintech.secret_files import read_secret, write_secret
from fintech.testing.processes import BASE_DIR, free_port

# The user of the tests may only give files to their own group.
CONSUMERS = [replace(consumer, group=os.getgid()) for consumer in secrets.CONSUMERS]
WRITERS = [replace(writer, user=os.getuid()) for writer in secrets.WRITERS]


@pytest.fixture
def volumes(tmp_path: Path) -> Path:
    names = [consumer.name for consumer in CONSUMERS] + [writer.name for writer in WRITERS]
    for name in ("store", *names):
        (tmp_path / name).mkdir()
    return tmp_path


def prepare(volumes: Path) -> dict[str, str]:
    """File below `volumes` -> its content."""
    secrets.prepare(volumes, CONSUMERS, WRITERS)
    return {str(path.relative_to(volumes)): path.read_text() for path in volumes.rglob("*") if path.is_file()}


# --- Secrets -----------------------------------------------------------------------------------------------------


def test_a_missing_volume_stops_the_start_with_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(secrets, "VOLUMES", tmp_path)

    with pytest.raises(SystemExit, match=r"^error: the secrets cannot be written: .*store"):
        secrets.main()


def test_repeating_changes_nothing(volumes):
    first = prepare(volumes)
    before = {path: path.stat().st_mtime_ns for path in volumes.rglob("*") if path.is_file()}

    assert prepare(volumes) == first
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_every_secret_is_random_and_long(volumes):
    content = prepare(volumes)

    made = [content[f"store/{name}"] for name in secrets.RANDOM]
    assert len(set(made)) == len(made)
    assert min(map(len, made)) > 40


def test_a_volume_holds_what_its_consumer_needs_and_no_more(volumes):
    write_secret(volumes / "worker" / "gateway_control_token", "of an earlier version")

    prepare(volumes)

    for consumer in CONSUMERS:
        assert sorted(path.name for path in (volumes / consumer.name).iterdir()) == sorted(consumer.secrets)


def test_only_the_owner_writes_and_only_the_group_reads(volumes):
    prepare(volumes)

    def mode(path: Path) -> int:
        return stat.S_IMODE(path.stat().st_mode)

    assert mode(volumes / "store") == 0o700
    assert {mode(path) for path in (volumes / "store").iterdir()} == {0o600}
    for consumer in CONSUMERS:
        assert mode(volumes / consumer.name) == 0o750
        assert {mode(path) for path in (volumes / consumer.name).iterdir()} == {0o440}


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"AM_TELEGRAM_BOT_TOKEN": "123:abc"}, "belong together: set both, or neither"),
        ({"AM_TELEGRAM_CHAT_ID": "5"}, "belong together: set both, or neither"),
        ({"AM_TELEGRAM_BOT_TOKEN": "123:abc", "AM_TELEGRAM_CHAT_ID": "@me"}, "AM_TELEGRAM_CHAT_ID is wrong"),
    ],
)
def test_half_a_telegram_bot_stops_the_start_with_a_sentence(volumes, monkeypatch, given, sentence):
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(secrets, "VOLUMES", volumes)

    with pytest.raises(SystemExit, match=f"^error: .*{sentence}"):
        secrets.main()


def test_a_telegram_bots_secrets_reach_its_consumers_and_are_removed_without_it(volumes, monkeypatch):
    monkeypatch.setenv("AM_TELEGRAM_BOT_TOKEN", "123:abc")
    monkeypatch.setenv("AM_TELEGRAM_CHAT_ID", "-1001")
    given = prepare(volumes)
    monkeypatch.delenv("AM_TELEGRAM_BOT_TOKEN")
    monkeypatch.delenv("AM_TELEGRAM_CHAT_ID")
    forgotten = prepare(volumes)

    users = {name.partition("/")[0] for name, content in given.items() if "123:abc" in content}
    assert users == {"worker", "alertmanager"}
    assert not [name for name, content in forgotten.items() if "123:abc" in content]


def test_a_secret_that_is_removed_from_the_store_is_new_everywhere(volumes):
    before = prepare(volumes)
    (volumes / "store" / "app_password").unlink()

    after = prepare(volumes)

    changed = {name for name in before if after[name] != before[name]}
    users = {"app", "worker", "migrate", "roles"}
    assert changed == {"store/app_password", *(f"{name}/database_url" for name in users)}
    assert len({after[f"{name}/database_url"] for name in users}) == 1


def test_both_ends_of_a_connection_have_the_same_secret(volumes):
    content = prepare(volumes)

    assert content["app/gateway_token"] == content["worker/gateway_token"] == content["gateway/gateway_token"]
    assert urlsplit(content["roles/database_admin_url"].strip()).password == read_secret(
        volumes / "db" / "postgres_password"
    )
    assert content["migrate/django_secret_key"] == content["app/django_secret_key"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may change the owner of files")
def test_folders_are_given_to_the_users_of_the_images(volumes):
    secrets.prepare(volumes)
    secrets.prepare(volumes)

    for consumer in secrets.CONSUMERS:
        for path in [volumes / consumer.name, *(volumes / consumer.name).iterdir()]:
            assert (path.stat().st_uid, path.stat().st_gid) == (0, consumer.group)
    for writer in secrets.WRITERS:
        found = (volumes / writer.name).stat()
        assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (writer.user, writer.user, 0o700)


# --- Roles -------------------------------------------------------------------------------------------------------


@pytest.fixture
def urls() -> Iterator[dict[str, str]]:
    """Addresses of a database and two roles that do not exist yet, on the tests' own server."""
    name = f"compose_{os.urandom(4).hex()}"
    admin = os.environ["DATABASE_OWNER_URL"].replace("//owner@/fintech", "//postgres@/postgres")
    yield {
        "admin_url": admin,
        "owner_url": admin.replace("//postgres@/postgres", f"//{name}_owner:first@/{name}"),
        "app_url": admin.replace("//postgres@/postgres", f"//{name}_app:it's%20%22quoted%22@/{name}"),
        "monitor_url": admin.replace("//postgres@/postgres", f"//{name}_monitor:third@/{name}"),
    }
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(f'DROP DATABASE IF EXISTS "{name}"')
        connection.execute(f'DROP ROLE IF EXISTS "{name}_owner", "{name}_app", "{name}_monitor"')


def role(urls: dict[str, str], which: str) -> tuple[bool, bool, bool, str]:
    name = urlsplit(urls[which]).username
    query = "SELECT rolcanlogin, rolsuper, rolcreaterole, rolpassword FROM pg_authid WHERE rolname = %s"
    with psycopg.connect(urls["admin_url"]) as connection:
        row = connection.execute(query, [name]).fetchone()
    assert row is not None
    return row


def test_no_role_is_a_superuser_and_passwords_are_stored_hashed(urls):
    roles.prepare(**urls)

    for which in ("owner_url", "app_url", "monitor_url"):
        login, superuser, creates_roles, password = role(urls, which)
        assert (login, superuser, creates_roles) == (True, False, False)
        assert password.startswith("SCRAM-SHA-256$")


def test_only_the_owner_may_make_tables(urls):
    roles.prepare(**urls)

    with psycopg.connect(urls["owner_url"]) as owner:
        owner.execute("CREATE TABLE allowed ()")
    with (
        psycopg.connect(urls["app_url"]) as app,
        pytest.raises(psycopg.errors.InsufficientPrivilege, match="schema public"),
    ):
        app.execute("CREATE TABLE refused ()")


def test_the_monitor_sees_statistics_and_no_row(urls):
    roles.prepare(**urls)

    with psycopg.connect(urls["owner_url"]) as owner:
        owner.execute("CREATE TABLE money AS SELECT 1 AS amount")
    with psycopg.connect(urls["monitor_url"], autocommit=True) as monitor:
        [(seen,)] = monitor.execute("SELECT count(query) FROM pg_stat_activity WHERE usename = 'postgres'").fetchall()
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            monitor.execute("SELECT * FROM money")
    assert seen >= 0


def test_an_interrupted_start_is_completed_and_a_changed_password_counts(urls):
    owner = urlsplit(urls["owner_url"]).username
    with psycopg.connect(urls["admin_url"]) as connection:
        connection.execute(f'CREATE ROLE "{owner}" SUPERUSER')  # no login, no password, no database
    roles.prepare(**urls)
    first = role(urls, "owner_url")

    roles.prepare(**urls | {"owner_url": urls["owner_url"].replace(":first@", ":second@")})

    second = role(urls, "owner_url")
    assert first[:3] == second[:3] == (True, False, False)
    assert first[3] != second[3]


@pytest.mark.processes
@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"DATABASE_ADMIN_URL": ""}, "error: DATABASE_ADMIN_URL is not set"),
        (
            {
                "DATABASE_ADMIN_URL": "postgresql://postgres@127.0.0.1:1/x",
                "DATABASE_MONITOR_URL": "dbname=x user=m password=p",
            },
            "error: the database's roles cannot be created",
        ),
    ],
)
def test_a_start_that_cannot_work_ends_with_a_sentence(change, sentence):
    command = [sys.executable, "-m", "fintech.compose.roles"]
    result = subprocess.run(command, cwd=BASE_DIR, env=os.environ | change, capture_output=True, text=True, check=False)

    assert result.returncode == 1
    assert result.stderr.startswith(sentence)
    assert "Traceback" not in result.stderr


# --- Migrations and accounts ---------------------------------------------------------------------------------------


@pytest.mark.django_db(databases=["default", "owner"])
def test_the_first_accounts_are_created_once_and_the_load_gets_the_key(tmp_path, caplog):
    accounts, loadgen = tmp_path / "accounts", tmp_path / "loadgen"
    loadgen.mkdir()
    caplog.set_level("INFO", logger="fintech.compose")

    migrate.prepare(accounts, loadgen)
    key = read_secret(loadgen / "api_key")
    migrate.prepare(accounts, loadgen)

    assert key is not None
    assert key == read_secret(accounts / "api_key") == read_secret(loadgen / "api_key")
    assert "No migrations to apply." in caplog.messages
    assert not [secret for secret in (key, read_secret(accounts / "admin_password")) if str(secret) in caplog.text]


@pytest.mark.processes
def test_a_database_that_is_unavailable_ends_the_migration_with_a_sentence():
    gone = dict.fromkeys(("DATABASE_URL", "DATABASE_OWNER_URL"), "postgresql://owner@127.0.0.1:1/x")
    command = [sys.executable, "-m", "fintech.compose.migrate"]
    result = subprocess.run(command, cwd=BASE_DIR, env=os.environ | gone, capture_output=True, text=True, check=False)

    assert result.returncode == 1
    assert result.stderr.startswith("error: the database cannot be prepared: ")
    assert "Traceback" not in result.stderr


def test_djangos_output_in_pieces_is_logged_in_lines(caplog):
    caplog.set_level("INFO", logger="fintech.compose")

    lines = migrate.LogLines()
    for piece in ("Running migrations:\n  Applying payments.0001", "...", " OK\n", "\n"):
        lines.write(piece)

    assert caplog.messages == ["Running migrations:", "Applying payments.0001... OK"]


# --- Lines of the log ----------------------------------------------------------------------------------------------


@pytest.mark.processes
def test_one_shot_services_write_json_lines_with_a_level(urls):
    settings = {"DATABASE_ADMIN_URL": "admin_url", "DATABASE_OWNER_URL": "owner_url", "DATABASE_URL": "app_url"}
    settings |= {"DATABASE_MONITOR_URL": "monitor_url"}
    given = {setting: urls[name] for setting, name in settings.items()}
    command = [sys.executable, "-m", "fintech.compose.roles"]

    result = subprocess.run(command, cwd=BASE_DIR, env=os.environ | given, capture_output=True, text=True, check=True)

    [line] = [json.loads(line) for line in result.stdout.splitlines()]
    assert (line["level"], line["logger"], line["event"]) == ("INFO", "fintech.compose", "roles_created")


# --- Health check ------------------------------------------------------------------------------------------------


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/silent":
            threading.Event().wait(1)
        self.send_response(200 if self.path == "/health" else 503)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def port() -> Iterator[int]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=[0.05], daemon=True).start()
        yield server.server_port
        server.shutdown()


def check(port: int, path: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "fintech.compose.healthcheck", str(port), path]
    return subprocess.run(command, cwd=BASE_DIR, capture_output=True, text=True, check=False)


@pytest.mark.processes
def test_a_closed_port_is_unhealthy():
    port = free_port()
    result = check(port, "/health")

    assert (result.returncode, result.stderr.split(": ")[:2]) == (1, [f"port {port}", "ConnectionRefusedError"])


@pytest.mark.processes
def test_any_answer_but_200_is_unhealthy(port):
    result = check(port, "/")

    assert (result.returncode, result.stderr) == (1, f"port {port}: GET / answers 503\n")


def test_a_server_that_does_not_answer_is_unhealthy(port, monkeypatch):
    monkeypatch.setattr(healthcheck, "SECONDS", 0.1)

    assert healthcheck.problem(port, "/silent") == f"port {port}: TimeoutError: timed out"


@pytest.mark.processes
def test_a_server_that_answers_is_healthy(port):
    assert check(port, "/health").returncode == 0
