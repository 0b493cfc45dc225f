"""manage.py: what no command handles ends with one sentence."""

import getpass
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
from django.core.management import CommandError, call_command, get_commands, load_command_class
from django.db import OperationalError

import manage
from fintech.management.command_line import moment, one_sentence, system_user

ROOT = Path(__file__).resolve().parents[2]
NOWHERE = "postgresql://127.0.0.1:1/none"  # no server


def end(monkeypatch: pytest.MonkeyPatch, *words: str, error: BaseException | None = None) -> object:
    """Return the exit code of a command that fails with `error`."""

    def run(_: list[str]) -> None:
        if error is not None:
            raise error

    monkeypatch.setattr(sys, "argv", ["manage.py", *words])
    monkeypatch.setattr(manage.gc, "disable", lambda: None)
    monkeypatch.setattr("django.core.management.execute_from_command_line", run)
    with pytest.raises(SystemExit) as ended:
        manage.main()
    return ended.value.code


@pytest.mark.parametrize("kind", [OperationalError, psycopg.OperationalError], ids=["django", "psycopg"])
def test_a_database_that_does_not_answer_is_one_sentence(monkeypatch, capsys, kind):
    assert end(monkeypatch, "alert_source", "list", error=kind("no route to host\n")) == 2
    assert capsys.readouterr().err == "error: The database refuses or does not answer: no route to host\n"


def test_an_argument_that_is_not_utf_8_is_one_sentence(monkeypatch, capsys):
    assert end(monkeypatch, "alert_token", os.fsdecode(b"\xff")) == 2
    assert capsys.readouterr().err == "error: An argument is not UTF-8.\n"


def test_an_interrupted_command_ends_without_a_traceback(monkeypatch, capsys):
    assert end(monkeypatch, "audit_ledger", error=KeyboardInterrupt()) == 130
    assert capsys.readouterr().err == ""


def unread_pipe() -> int:
    reader, writer = os.pipe()
    os.close(reader)
    return writer


def full_disk() -> int:
    return os.open("/dev/full", os.O_WRONLY)


@pytest.mark.processes
def test_a_reader_that_has_seen_enough_is_no_fault():
    writer = unread_pipe()
    done = subprocess.run(
        [sys.executable, "manage.py", "help"], cwd=ROOT, stdout=writer, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(writer)

    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.processes
@pytest.mark.parametrize("stream", ["<&-", ">&-", "2>&-"])
def test_a_closed_stream_is_no_fault(stream):
    shell = ["sh", "-c", f'exec "$0" manage.py help {stream}', sys.executable]
    done = subprocess.run(shell, cwd=ROOT, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")
    assert ("audit_ledger" in done.stdout) == (stream != ">&-")


@pytest.mark.processes
@pytest.mark.parametrize("open_stderr", [unread_pipe, full_disk])
def test_a_sentence_that_cannot_be_written_keeps_its_exit_code(open_stderr):
    command, env = [sys.executable, "manage.py", "audit_ledger"], {**os.environ, "DATABASE_URL": NOWHERE}
    with os.fdopen(open_stderr(), "w") as stderr:
        done = subprocess.run(command, cwd=ROOT, env=env, stderr=stderr, check=False)

    assert done.returncode == 2


def test_a_question_without_a_terminal_is_one_sentence(monkeypatch, capsys):
    assert end(monkeypatch, "changepassword", error=EOFError()) == 2
    assert capsys.readouterr().err == ("error: The command asks a question, and there is no terminal to answer it.\n")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (FileNotFoundError("no such file"), 1),
        (OperationalError("no route to host"), 2),
        (psycopg.OperationalError("no route to host"), 2),
    ],
)
def test_an_expected_error_of_a_command_is_one_sentence_with_its_exit_code(error, code):
    with pytest.raises(CommandError, match=str(error)) as refusal, one_sentence(OSError):
        raise error
    assert refusal.value.returncode == code


@pytest.mark.parametrize("error", [BrokenPipeError(), ValueError("a fault of ours")])
def test_an_output_without_a_reader_and_a_fault_of_ours_get_no_sentence(error):
    with pytest.raises(type(error)), one_sentence(OSError):
        raise error


@pytest.mark.parametrize("error", [KeyError("uid not found: 12345"), OSError("No username set in the environment")])
def test_a_user_without_a_name_is_named_by_number(monkeypatch, error):
    def fail() -> str:
        raise error

    monkeypatch.setattr(getpass, "getuser", fail)

    assert system_user() == f"user {os.getuid()}"


@pytest.mark.parametrize("number", ["0", "-1", "9223372036854775808", "one"])
@pytest.mark.parametrize("command", ["audit_ledger", "reconcile"])
def test_a_merchant_that_cannot_exist_is_refused(command, number):
    with pytest.raises(CommandError, match="--merchant: invalid row_id value"):
        call_command(command, f"--merchant={number}")


TIMES = [("archive_audit", "before"), ("archive_payments", "before"), ("reconcile", "since"), ("verify_audit", "since")]
WRONG_TIMES = [
    *("yesterday", "", "2026-13-01", "2026-02-30T00:00:00Z", "0001-01-01", "0001-01-01T00:00:00+14:00"),
    *("2026-W05", "2026-W05-1T00:00:00Z", "20260131", "2026-02-٢٢", "2026-02-٢٢T00:00:00Z"),
    *("2026-01-31T00:00Z", "2026-01-31T00:00:00+0100", "2026-01-31Z", "9999-12-31T23:00:00Z"),
]


@pytest.mark.parametrize("time", WRONG_TIMES)
@pytest.mark.parametrize(("command", "option"), TIMES)
def test_a_time_that_is_not_of_rfc_3339_or_that_no_row_can_have_is_one_sentence(capsys, command, option, time):
    with pytest.raises(SystemExit) as ended:
        load_command_class(get_commands()[command], command).run_from_argv(["manage.py", command, f"--{option}={time}"])

    assert ended.value.code == 2
    assert capsys.readouterr().err.endswith(
        f"error: argument --{option}: use a time after 1970-01-01, such as 2026-01-31T12:00:00Z, or a day in UTC, such"
        " as 2026-01-31\n"
    )


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2026-01-31", datetime(2026, 1, 31, tzinfo=UTC)),
        ("2026-01-31T12:00:00", datetime(2026, 1, 31, 12, tzinfo=UTC)),
        ("2026-01-31t12:00:00.5z", datetime(2026, 1, 31, 12, 0, 0, 500_000, tzinfo=UTC)),
        ("2026-01-31 12:00:00-23:59", datetime(2026, 2, 1, 11, 59, tzinfo=UTC)),
    ],
)
def test_a_time_of_rfc_3339_and_a_day_are_read_in_utc(text, time):
    assert (moment(text), moment(text).tzinfo) == (time, UTC)
