"""Find obstacles before any process is started."""

import fcntl
import os
import shutil
import socket
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import IO

import psutil
import psycopg

from fintech import env
from fintech.run import RunError
from fintech.run.layout import MARK, Layout
from fintech.run.ports import ADVISED_BASE_PORT, Ports
from fintech.run.postgres import EmbeddedPostgres
from fintech.run.supervisor import Supervisor

MEGABYTE = 1024**2
MIN_FREE_TO_START, MIN_FREE_TO_CONTINUE = 500 * MEGABYTE, 50 * MEGABYTE


def check_disk(directory: Path, least: int) -> None:
    free = shutil.disk_usage(directory).free
    if free < least:
        raise RunError(
            f"The disk that holds {directory} has {free // MEGABYTE} MB left, and {least // MEGABYTE} MB are needed:"
            " free some space and start again."
        )


def check_numbers() -> None:
    """Check the numeric settings of all processes, so that a wrong one stops the start and not a process."""
    env.integer("WEB_CONCURRENCY", 2, least=1, most=256)
    env.integer("LOAD_USERS", 5, least=1)
    env.number("LOAD_RATE", 1, least=0.001)


def take_lock(layout: Layout) -> IO[str]:
    """Allow one run per folder. The kernel releases the lock when the holder ends, in any way."""
    lock = (layout.run / "lock").open("a+", encoding="ascii")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        holder = lock.read().strip() or "unknown"
        lock.close()
        raise RunError(f"The platform is already running (PID {holder}): stop that run with Ctrl-C first.") from None
    lock.truncate(0)
    lock.write(f"{os.getpid()}\n")
    lock.flush()
    return lock


def stop_leftovers(layout: Layout, postgres: EmbeddedPostgres | None) -> list[str]:
    """Stop processes of a killed run and return their names. Call it with the lock held."""
    found = Supervisor.shut_down_leftover(layout)
    # Their supervisord was killed too; our mark in the environment identifies them.
    strays = [process for process in psutil.process_iter() if is_ours(process, layout)]
    for process in strays:
        found.append(describe(process))
        with suppress(psutil.NoSuchProcess):
            process.terminate()
    _, stubborn = psutil.wait_procs(strays, timeout=15)
    for process in stubborn:
        process.kill()
    psutil.wait_procs(stubborn, timeout=5)
    if postgres is not None and postgres.pid() is not None:
        found.append(f"PostgreSQL (PID {postgres.pid()})")
        postgres.stop()
    return found


def is_ours(process: psutil.Process, layout: Layout) -> bool:
    try:
        # PostgreSQL's processes are stopped through their server, and last.
        if process.pid == os.getpid() or process.name() == "postgres":
            return False
        return process.environ().get(MARK) == str(layout.var)
    except psutil.Error:
        return False  # gone, a zombie, or owned by another user: not started by us


def describe(process: psutil.Process) -> str:
    try:
        return f"{' '.join(process.cmdline()[:4])[:70]} (PID {process.pid})"
    except psutil.Error:
        return f"PID {process.pid}"


def check_database(url: str) -> None:
    try:
        psycopg.connect(url, connect_timeout=5).close()
    except psycopg.Error as error:
        what = str(error).strip().splitlines()[0]
        raise RunError(f"The PostgreSQL of DATABASE_URL cannot be used: {what}") from None


def check_ports(ports: Ports, used: set[str]) -> None:
    """Check that the ports are free. `used`: names of the ports that this run needs."""
    for field in fields(ports):
        port = getattr(ports, field.name)
        if field.name in used and not is_free(port):
            raise RunError(
                f"Port {port} ({field.name}) is taken{holder_of(port)}: stop that program, or choose other ports"
                f" with BASE_PORT, such as make run BASE_PORT={ADVISED_BASE_PORT}."
            )


def is_free(port: int) -> bool:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: TIME_WAIT is no obstacle
        try:
            listener.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def holder_of(port: int) -> str:
    """Return ` by name (PID n)`, if it is known."""
    try:
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port and connection.pid:
                return f" by {psutil.Process(connection.pid).name()} (PID {connection.pid})"
    except psutil.Error:
        pass
    return ""
