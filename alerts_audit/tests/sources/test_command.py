"""`manage.py alert_source`."""

import hashlib
import secrets
import stat
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from alerts_audit.models import Source, SourceToken
from alerts_audit.sources.tokens import TokenCache


def run(*words: str) -> str:
    """Run the command and return its standard output."""
    out = StringIO()
    call_command("alert_source", *words, stdout=out, stderr=StringIO())
    return out.getvalue()


def owner_of(secret: str) -> str | None:
    return TokenCache().find(hashlib.sha256(secret.encode()).digest())


@pytest.fixture
def name() -> str:
    return f"am-{secrets.token_hex(4)}"


def test_it_adds_a_source_and_prints_its_token_alone(name):
    secret = run("add", name, "--cluster", "berlin").strip()

    assert owner_of(secret) == name
    assert Source.objects.get(name=name).cluster == "berlin"


def test_it_writes_the_token_into_a_file_for_its_owner_only(name, tmp_path):
    path = tmp_path / "token"
    assert run("add", name, "--token-file", str(path)) == ""

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert owner_of(path.read_text().strip()) == name


def test_a_token_that_cannot_be_written_is_no_token(name, tmp_path):
    with pytest.raises(CommandError, match="is revoked"):
        run("add", name, "--token-file", str(tmp_path / "missing" / "token"))

    assert not SourceToken.objects.filter(source__name=name, revoked_at=None).exists()


def test_it_rotates_and_revokes(name):
    old = run("add", name).strip()
    new = run("rotate", name).strip()
    with pytest.raises(CommandError, match="two valid tokens"):
        run("rotate", name)
    run("revoke", old[:12])

    [row] = [line for line in run("list").splitlines() if line.startswith(f"{name} ")]
    assert new[:12] in row
    assert old[:12] not in row
    assert new[12:] not in row


def test_it_names_the_token_that_is_a_setting():
    [row] = [line for line in run("list").splitlines() if line.startswith("alertmanager ")]
    assert "ALERT_TOKEN" in row


def test_it_lists_a_source_that_is_inactive(name):
    run("add", name)
    Source.objects.filter(name=name).update(is_active=False)

    [row] = [line for line in run("list").splitlines() if line.startswith(f"{name} ")]
    assert "inactive" in row


@pytest.mark.parametrize(
    ("words", "trouble"),
    [
        (["add", "Not plain"], "small letters"),
        (["add", "alertmanager"], "already exists"),
        (["rotate", "nothing"], "Unknown source"),
        (["revoke", "src_nothing"], "Unknown token"),
        ([], "required"),
        (["delete", "alertmanager"], "invalid choice"),
    ],
)
def test_it_says_what_is_wrong(words, trouble):
    with pytest.raises(CommandError, match=trouble):
        run(*words)


def test_a_token_is_revoked_once(name):
    prefix = run("add", name)[:12]
    run("revoke", prefix)

    with pytest.raises(CommandError, match="was already revoked"):
        run("revoke", prefix)
