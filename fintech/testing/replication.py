"""A second PostgreSQL server that follows the first, and takes over when it is promoted."""

import os
import subprocess
from urllib.parse import quote

import psycopg

from fintech.run.postgres import PORT, PROGRAMS, EmbeddedPostgres
from fintech.testing.processes import wait_until

NAME = "standby"


def start_standby(primary: EmbeddedPostgres, *, synchronous: bool) -> EmbeddedPostgres:
    """Copy the running primary, and start the copy as its standby. With `synchronous`, a commit waits for it."""
    source = f"host={primary.socket_dir} port={PORT} user=postgres application_name={NAME}"
    standby = EmbeddedPostgres(primary.data_dir.with_name("standby"), settings={**primary.settings})
    standby.data_dir.mkdir(mode=0o700)
    account = primary.account()  # the standby's too
    os.chown(standby.data_dir, account.pw_uid, account.pw_gid)
    program, target = str(PROGRAMS / "pg_basebackup"), str(standby.data_dir)
    command = [program, "-D", target, "-d", source, "-X", "stream", "-c", "fast", "-R"]  # -R keeps `source`
    subprocess.run(command, check=True, capture_output=True, **primary._identity())
    standby.start()
    with psycopg.connect(primary.url("postgres", "postgres"), autocommit=True) as connection:
        if synchronous:
            connection.execute(f"ALTER SYSTEM SET synchronous_standby_names = '{NAME}'")
            connection.execute("SELECT pg_reload_conf()")
        wanted = "sync" if synchronous else "async"
        state = "SELECT sync_state FROM pg_stat_replication WHERE state = 'streaming'"
        wait_until(lambda: connection.execute(state).fetchall() == [(wanted,)], timeout=30, what="the standby follows")
    return standby


def stop_following(primary: EmbeddedPostgres, standby: EmbeddedPostgres) -> None:
    """Let the standby have everything up to now, and nothing later."""
    with (
        psycopg.connect(primary.url("postgres", "postgres"), autocommit=True) as source,
        psycopg.connect(standby.url("postgres", "postgres"), autocommit=True) as copy,
    ):
        (position,) = source.execute("SELECT pg_current_wal_flush_lsn()::text").fetchone() or ("",)
        replayed = "SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn"
        wait_until(lambda: copy.execute(replayed, [position]).fetchone() == (True,), what="the standby has everything")
        copy.execute("ALTER SYSTEM SET primary_conninfo = ''")
        copy.execute("SELECT pg_reload_conf()")
        receiver = "SELECT count(*) FROM pg_stat_wal_receiver"
        wait_until(lambda: copy.execute(receiver).fetchone() == (0,), what="the standby receives nothing")


def promote(standby: EmbeddedPostgres) -> None:
    """Make the standby a primary, and wait until it takes writes."""
    with psycopg.connect(standby.url("postgres", "postgres"), autocommit=True) as connection:
        assert connection.execute("SELECT pg_promote(true, 30)").fetchone() == (True,)


def url_of_both(first: EmbeddedPostgres, second: EmbeddedPostgres, user: str, database: str) -> str:
    """Return an address with both servers. A client uses the one that takes writes."""
    hosts = ",".join(quote(str(server.socket_dir), safe="") for server in (first, second))
    return f"postgresql://{user}@/{database}?host={hosts}&port={PORT},{PORT}"
