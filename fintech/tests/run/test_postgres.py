"""The embedded server, with the settings that money needs; the session's own trades safety for speed."""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import errors

from fintech.run.postgres import EmbeddedPostgres, PostgresError
from fintech.testing.processes import wait_until

pytestmark = pytest.mark.processes

is_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root is refused by PostgreSQL")


@pytest.fixture(scope="module")
def template() -> Iterator[Path]:
    """An initialised directory; initdb takes half a second, a copy does not."""
    directory = Path(tempfile.mkdtemp())
    server = EmbeddedPostgres(directory / "postgres", settings={"fsync": "off"})
    server.init()
    yield server.data_dir
    shutil.rmtree(directory)


@pytest.fixture
def server(template: Path, open_tmp: Path) -> Iterator[EmbeddedPostgres]:
    subprocess.run(["cp", "-a", template, open_tmp / "postgres"], check=True)
    found = EmbeddedPostgres(open_tmp / "postgres")
    yield found
    found.stop("immediate")


def value(server: EmbeddedPostgres, query: str, user: str = "postgres", database: str = "postgres") -> object:
    with psycopg.connect(server.url(user, database)) as connection:
        row = connection.execute(query).fetchone()
        return row[0] if row else None


def test_a_new_directory_becomes_a_server_with_both_roles(open_tmp):
    server = EmbeddedPostgres(open_tmp / "deep" / "postgres")
    server.start()
    try:
        server.ensure_database("shop")
        server.ensure_database("shop")  # once more changes nothing

        assert value(server, "SELECT current_user || current_database()", "app", "shop") == "appshop"
        assert value(server, "SHOW fsync") == "on"
        assert value(server, "SHOW listen_addresses") == ""
        with psycopg.connect(server.url("owner", "shop")) as connection:
            connection.execute("CREATE TABLE thing (id int)")
        with pytest.raises(errors.InsufficientPrivilege):
            value(server, "SELECT * FROM thing", "app", "shop")
    finally:
        server.stop()
    assert server.pid() is None


def test_only_the_servers_account_may_enter_the_sockets_directory(server):
    server.start()

    assert server.socket_dir.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_committed_rows_survive_a_restart(server, mode):
    server.start()
    with psycopg.connect(server.url("postgres", "postgres"), autocommit=True) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")

    server.restart(mode)

    assert value(server, "SELECT answer FROM kept") == 42


def test_it_starts_again_after_being_killed(server):
    server.start()
    pid = server.pid()
    os.kill(pid, signal.SIGKILL)

    server.start()

    assert server.pid() not in (None, pid)


def test_starting_twice_keeps_the_running_server(server):
    server.start()
    pid = server.pid()

    EmbeddedPostgres(server.data_dir).start()

    assert server.pid() == pid


def test_a_supervisor_can_run_it_in_the_foreground(server):
    server.init()
    account = server.account()
    identity = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []} if os.geteuid() == 0 else {}
    process = subprocess.Popen(server.command(), cwd="/", stderr=subprocess.DEVNULL, **identity)
    try:
        server.wait_until_ready()
        assert server.pid() == process.pid
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0


def test_a_pid_file_that_names_a_stranger_is_ignored(server):
    server.init()
    stale = server.data_dir / "postmaster.pid"
    stale.write_text(f"{os.getpid()}\n{server.data_dir}\n1700000000\n5432\n\n\n  1 1\nready\n")
    account = server.account()
    os.chown(stale, account.pw_uid, account.pw_gid)

    assert server.pid() is None
    server.stop()  # must not touch the stranger
    server.start()

    assert server.pid() not in (None, os.getpid())


def test_an_interrupted_initdb_is_done_again(open_tmp):
    half = open_tmp / "postgres.new"
    half.mkdir()
    (half / "PG_VERSION").write_text("18\n")

    server = EmbeddedPostgres(open_tmp / "postgres", settings={"fsync": "off"})
    server.init()

    assert not half.exists()
    assert (server.data_dir / "global").is_dir()


def test_a_path_too_long_for_a_socket_gets_a_short_one(template, open_tmp):
    deep = open_tmp / ("long" * 30)
    deep.mkdir()
    subprocess.run(["cp", "-a", template, deep / "postgres, two"], check=True)
    server = EmbeddedPostgres(deep / "postgres, two")
    server.start()
    try:
        assert server.socket_dir != server.data_dir
        assert server.socket_dir.stat().st_mode & 0o077 == 0
        assert value(server, "SELECT 1") == 1
    finally:
        server.stop("immediate")
        server.socket_dir.rmdir()


def test_a_socket_directory_of_another_user_is_refused(template, open_tmp):
    server = EmbeddedPostgres(open_tmp / ("long" * 30) / "postgres")
    server.socket_dir.mkdir(mode=0o777)
    server.socket_dir.chmod(0o777)
    try:
        with pytest.raises(PostgresError, match="belongs to another user: remove it"):
            server._make_socket_dir()
    finally:
        server.socket_dir.rmdir()


def test_it_refuses_a_directory_with_other_files(open_tmp):
    (open_tmp / "postgres").mkdir()
    (open_tmp / "postgres" / "holiday.jpg").touch()

    with pytest.raises(PostgresError, match="contains files but no PostgreSQL database: move them elsewhere"):
        EmbeddedPostgres(open_tmp / "postgres").start()


def test_data_of_another_version_is_named(server):
    server.init()
    (server.data_dir / "PG_VERSION").write_text("17\n")

    with pytest.raises(PostgresError, match="was written by PostgreSQL 17"):
        server.start()


def test_a_wrong_setting_is_named(server):
    server.settings["shared_buffers"] = "lots"

    with pytest.raises(PostgresError, match='invalid value for parameter "shared_buffers"'):
        server.start()


def test_a_parent_that_is_a_file_is_named(open_tmp):
    (open_tmp / "var").touch()

    with pytest.raises(PostgresError, match=r"var.*(exists|directory)"):
        EmbeddedPostgres(open_tmp / "var" / "postgres").start()


@is_root
def test_data_that_the_account_may_not_read_is_named(server):
    server.init()
    os.chown(server.data_dir / "PG_VERSION", 0, 0)
    (server.data_dir / "PG_VERSION").chmod(0o600)

    with pytest.raises(PostgresError, match=r"may not use .* check who owns it"):
        server.start()


@is_root
def test_a_full_disk_is_named():
    with tempfile.TemporaryDirectory() as directory:
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", directory], check=False)
        if mounted.returncode != 0:
            pytest.skip("no right to mount a small disk")
        try:
            with pytest.raises(PostgresError, match="is full: free some space and start again"):
                EmbeddedPostgres(Path(directory) / "postgres").start()
        finally:
            subprocess.run(["umount", directory], check=True)


def test_a_full_disk_while_the_server_starts_is_named(server):
    said = 'FATAL:  could not write lock file "postmaster.pid": No space left on device'

    assert "is full: free some space" in server._explain(said)


def test_a_server_of_another_user_is_not_taken_for_ours(server, open_tmp):
    server.start()
    other = open_tmp / "other"
    other.mkdir()
    (other / "postmaster.pid").write_text(f"{server.pid()}\n")

    assert EmbeddedPostgres(other).pid() is None
    wait_until(lambda: value(server, "SELECT 1") == 1, what="our server answers")
