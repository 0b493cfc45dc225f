"""Every program that starts with a wrong setting says so in one sentence, and does not start."""

import os
import secrets
import subprocess
import sys
from typing import Any

import pytest

from fintech.testing.processes import BASE_DIR

pytestmark = pytest.mark.processes

PROGRAMS = {
    "manage.py": ["manage.py", "check"],
    "gunicorn": ["-m", "gunicorn", "-c", "fintech/server/gunicorn.py", "fintech.wsgi"],
    "worker": ["manage.py", "worker"],
    "migrate": ["manage.py", "migrate"],
}
GOOD = {
    "DJANGO_SECRET_KEY": secrets.token_urlsafe(50),
    "DATABASE_URL": "postgresql://app:geheim@db.invalid/fintech",
    "GATEWAY_TOKEN": secrets.token_urlsafe(32),
    "METRICS_TOKEN": secrets.token_urlsafe(32),
    "ALERT_TOKEN": secrets.token_urlsafe(32),
}


def run(*arguments: str, **changes: str | None) -> subprocess.CompletedProcess[str]:
    env = {"PATH": os.environ["PATH"], **GOOD, **changes}
    env = {name: value for name, value in env.items() if value is not None}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=BASE_DIR, env=env, capture_output=True, text=True, timeout=30, check=False)


def assert_refused(program: str, sentence: str, **changes: str | None) -> None:
    ended = run(*PROGRAMS[program], **changes)

    assert ended.returncode == 1, ended
    assert ended.stderr.count("\n") == 1, ended.stderr
    assert ended.stderr.startswith(("error: ", "CommandError: "))
    assert sentence in ended.stderr
    for secret in ("geheim", GOOD["GATEWAY_TOKEN"], GOOD["DJANGO_SECRET_KEY"]):
        assert secret not in ended.stdout + ended.stderr


def test_production_settings_leave_nothing_to_complain_about():
    """All that Django's deployment check knows, with HTTPS=True as by default."""
    ended = run("manage.py", "check", "--deploy", "--fail-level", "WARNING")

    assert ended.returncode == 0, ended
    assert ended.stdout == "System check identified no issues (1 silenced).\n"
    assert ended.stderr == ""


@pytest.mark.parametrize("program", PROGRAMS)
def test_each_program_asks_for_what_is_missing(program):
    assert_refused(program, "GATEWAY_TOKEN is not set: set GATEWAY_TOKEN, or GATEWAY_TOKEN_FILE", GATEWAY_TOKEN=None)


@pytest.mark.parametrize("name", [name for name in GOOD if name != "GATEWAY_TOKEN"])
def test_nothing_secret_has_a_default(name):
    assert_refused("manage.py", f"{name} is not set", **{name: ""})


WRONG: list[tuple[str, str, dict[str, Any]]] = [
    ("manage.py", "ALERT_TOKEN and ALERT_TOKEN_FILE are both set", {"ALERT_TOKEN_FILE": "/dev/null"}),
    ("gunicorn", "ALERT_TOKEN_FILE=/nowhere cannot be read", {"ALERT_TOKEN": None, "ALERT_TOKEN_FILE": "/nowhere"}),
    ("worker", "HTTPS='yes' is wrong: use True or False", {"HTTPS": "yes"}),
    ("gunicorn", "LEASE_SECONDS=5 is wrong: it must be above GATEWAY_DEADLINE_SECONDS (5)", {"LEASE_SECONDS": "5"}),
    ("worker", "LEASE_SECONDS=8 is wrong: it must be above", {"GATEWAY_DEADLINE_SECONDS": "9"}),
    ("manage.py", "GATEWAY_TIMEOUT_SECONDS='soon' is wrong: use a number", {"GATEWAY_TIMEOUT_SECONDS": "soon"}),
    ("manage.py", "BATCH_CONCURRENCY=0 is wrong: use a number from 1", {"BATCH_CONCURRENCY": "0"}),
    ("worker", "AUDIT_SEAL_SECONDS=600 is wrong: use a number from 1 to 240", {"AUDIT_SEAL_SECONDS": "600"}),
    ("manage.py", "AUDIT_VERIFY_SECONDS=86400 is wrong: use a number", {"AUDIT_VERIFY_SECONDS": "86400"}),
    ("manage.py", "THROTTLE_RATE=0 is wrong", {"THROTTLE_RATE": "0"}),
    ("manage.py", "LOG_LEVEL='loud' is wrong: use one of DEBUG, INFO", {"LOG_LEVEL": "loud"}),
    ("worker", "GATEWAY_URL is wrong: use an address such as http://", {"GATEWAY_URL": "gateway:5001"}),
    ("gunicorn", "WEB_CONCURRENCY=0 is wrong: use a number from 1 to 256", {"WEB_CONCURRENCY": "0"}),
    ("gunicorn", "WEB_THREADS=2000 is wrong", {"WEB_THREADS": "2000"}),
    ("gunicorn", "BIND is wrong: use host:port", {"BIND": "127.0.0.1:99999"}),
    ("gunicorn", "RUNTIME_DIR cannot be used", {"RUNTIME_DIR": "/proc/nowhere"}),
    ("worker", "the worker cannot start: WORKER_METRICS_BIND is wrong", {"WORKER_METRICS_BIND": "9465"}),
    ("worker", "the worker cannot start: [Errno", {"RUNTIME_DIR": "/proc/nowhere"}),
]


@pytest.mark.parametrize(("program", "sentence", "changes"), WRONG, ids=[sentence for _, sentence, _ in WRONG])
def test_a_wrong_value_stops_the_start_with_one_sentence(program, sentence, changes):
    assert_refused(program, sentence, **changes)


@pytest.mark.parametrize(
    "url",
    [
        "mysql://app:geheim@db/fintech",
        "geheim",
        "postgresql://app:geheim@db/fintech?colour=red",
    ],
)
def test_a_wrong_database_url_is_reported_without_its_password(url):
    assert_refused("manage.py", "DATABASE_URL is not a PostgreSQL address: use postgresql://", DATABASE_URL=url)


def test_a_database_url_names_a_database():
    assert_refused("manage.py", "DATABASE_URL does not name a database", DATABASE_URL="postgresql://app:geheim@db")
    assert_refused(
        "manage.py", "DATABASE_OWNER_URL does not name a database", DATABASE_OWNER_URL="host=db password=geheim"
    )
