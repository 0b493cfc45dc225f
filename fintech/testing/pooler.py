"""A real PgBouncer in transaction mode, with one connection to a database of the tests' server."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from fintech.run.postgres import PORT
from fintech.testing.databases import session_server
from fintech.testing.processes import free_port, wait_until

PGBOUNCER = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")

# One server connection, so that each client gets the connection of the previous one. Its own timeouts come from
# `options`, which PgBouncer refuses unless it is configured to ignore them, as CloudNativePG's Pooler is.
CONFIGURATION = """
[databases]
{database} = host={host} port={server_port} dbname={database} user=app
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 1
ignore_startup_parameters = {ignored}
"""


@contextmanager
def pooled(database: str, *, ignored: str = "extra_float_digits,options") -> Iterator[str]:
    """Yield the address of `database` through PgBouncer, which ignores these parameters and refuses all others."""
    server, port = session_server(), free_port()
    url = f"postgresql://app@127.0.0.1:{port}/{database}"
    with tempfile.TemporaryDirectory(prefix="pgbouncer-") as folder:
        file = Path(folder, "pgbouncer.ini")
        values = {
            "ignored": ignored,
            "host": server.socket_dir,
            "server_port": PORT,
            "database": database,
            "port": port,
        }
        file.write_text(CONFIGURATION.format(**values))
        account = server.account()  # the only account that can enter the folder of the server's socket
        os.chown(folder, account.pw_uid, account.pw_gid)
        # PgBouncer refuses to run as root.
        identity = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []} if os.geteuid() == 0 else {}
        process = subprocess.Popen([str(PGBOUNCER), "--quiet", str(file)], **identity)  # type: ignore[call-overload]
        try:
            wait_until(lambda: accepts(url), what="PgBouncer")
            yield url
        finally:
            process.terminate()
            process.wait(10)


def accepts(url: str) -> bool:
    try:
        psycopg.connect(url).close()
    except psycopg.OperationalError:
        return False
    return True
