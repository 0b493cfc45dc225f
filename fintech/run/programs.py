"""The processes of a run, and supervisord's configuration for them."""

import os
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

from fintech.run.layout import BASE_DIR, Layout
from fintech.run.postgres import EmbeddedPostgres


@dataclass(frozen=True)
class Program:
    """A process.

    If it ends within `start_seconds`, it counts as not started; after `start_retries` such attempts supervisord gives
    up. `stop_seconds` is the time that it may take to stop.
    """

    name: str
    command: list[str]
    start_seconds: int = 5
    start_retries: int = 3
    stop_seconds: int = 15
    stop_signal: str = "TERM"
    directory: Path = BASE_DIR
    user: str | None = None
    umask: str = "022"


def postgres_program(server: EmbeddedPostgres) -> Program:
    user = server.account().pw_name if os.geteuid() == 0 else None
    # SIGINT is PostgreSQL's fast shutdown: it ends sessions and loses nothing.
    return Program(
        "postgres",
        server.command(),
        stop_seconds=60,
        stop_signal="INT",
        directory=server.data_dir,
        user=user,
        umask="077",
    )


def service_programs(layout: Layout) -> list[Program]:
    """Return the programs in order of start; they stop in the opposite order."""
    python, ports = sys.executable, layout.ports
    gateway = ["--port", str(ports.gateway), "--data", str(layout.var / "gateway.sqlite3")]
    return [
        Program("gateway", [python, "-m", "loadtests.gateway", *gateway]),
        Program("metrics", [python, "-m", "fintech.telemetry.metrics_server"]),
        Program("worker", [python, "manage.py", "worker"]),
        Program(
            "web",
            [python, "-m", "gunicorn", "-c", "fintech/server/gunicorn.py", "fintech.wsgi"],
            # Above gunicorn's graceful_timeout for any deadline, so that running requests are answered.
            stop_seconds=90,
        ),
    ]


def load_program(layout: Layout) -> Program:
    """Return the steady load; LOAD_USERS and LOAD_RATE are settings of the locustfile."""
    locust = [sys.executable, "-m", "locust", "-f", "loadtests/locustfile.py", "--headless", "--only-summary"]
    return Program("load", [*locust, "--loglevel", "WARNING", "--host", layout.url(layout.ports.web)])


def configuration(layout: Layout, programs: list[Program]) -> str:
    """Return supervisord.conf. Every program is its own group, so that priorities order the stop as well."""
    sections = [
        section("unix_http_server", file=layout.supervisor_socket, chmod="0600"),
        section(
            "supervisord",
            nodaemon="true",
            silent="true",
            logfile=layout.logs / "supervisord.log",
            logfile_maxbytes="0",
            loglevel="info",
            pidfile=layout.run / "supervisord.pid",
            **({"user": "root"} if os.geteuid() == 0 else {}),
        ),
        section(
            "rpcinterface:supervisor",
            **{"supervisor.rpcinterface_factory": "supervisor.rpcinterface:make_main_rpcinterface"},
        ),
    ]
    sections += [program_section(layout, program, 10 * place) for place, program in enumerate(programs, 1)]
    return "\n".join(sections)


def program_section(layout: Layout, program: Program, priority: int) -> str:
    return section(
        f"program:{program.name}",
        command=shlex.join(program.command),
        directory=program.directory,
        priority=priority,
        autostart="false",
        autorestart="true",
        startsecs=program.start_seconds,
        startretries=program.start_retries,
        stopsignal=program.stop_signal,
        stopwaitsecs=program.stop_seconds,
        killasgroup="true",
        umask=program.umask,
        redirect_stderr="true",
        # Relative to var/, where supervisord is started: it expands this one value twice.
        stdout_logfile=(layout.logs / f"{program.name}.log").relative_to(layout.var),
        stdout_logfile_maxbytes="10MB",
        stdout_logfile_backups=3,
        **({"user": program.user} if program.user else {}),
    )


def section(title: str, **values: object) -> str:
    """Return a section. Percent signs are doubled, because supervisord expands them."""
    lines = [f"{name} = {str(value).replace('%', '%%')}" for name, value in values.items()]
    return "\n".join([f"[{title}]", *lines, ""])
