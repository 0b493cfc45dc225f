"""The processes of a run, and supervisord's configuration for them."""

import os
import re
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

from fintech.run import RunError
from fintech.run.layout import BASE_DIR, Layout
from fintech.run.postgres import EmbeddedPostgres

SPECIAL = re.compile("[%;#]")


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
    secret = layout.secrets / "webhook_secret"
    merchant = ["--port", str(ports.merchant), "--api", layout.url(ports.web), "--secret-file", str(secret)]
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
        Program("merchant", [python, "-m", "loadtests.webhook_receiver", *merchant]),
    ]


def fake_of_stripe_program(layout: Layout) -> Program:
    options = ["--port", str(layout.ports.stripe), "--data", str(layout.var / "stripe.sqlite3")]
    return Program("stripe", [sys.executable, "-m", "loadtests.stripe", *options])


def load_program(layout: Layout) -> Program:
    """Return the steady load; LOAD_USERS and LOAD_RATE are settings of the locustfile."""
    locust = [sys.executable, "-m", "locust", "-f", "loadtests/locustfile.py", "--headless", "--only-summary"]
    # Locust also reads ~/.locust.conf, which is meant for other load tests.
    home = ["env", f"HOME={layout.run}"]
    return Program("load", [*home, *locust, "--skip-log-setup", "--host", layout.url(layout.ports.web)])


def configuration(layout: Layout, programs: list[Program]) -> tuple[str, dict[str, str]]:
    """Return supervisord.conf and the environment variables that it refers to.

    Every program is a group of its own, so that priorities order the stop as well.
    """
    texts: dict[str, str] = {}
    sections = [
        section(texts, "unix_http_server", file=layout.supervisor_socket, chmod="0600"),
        section(
            texts,
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
            texts,
            "rpcinterface:supervisor",
            **{"supervisor.rpcinterface_factory": "supervisor.rpcinterface:make_main_rpcinterface"},
        ),
    ]
    sections += [program_section(texts, layout, program, 10 * place) for place, program in enumerate(programs, 1)]
    return "\n".join(sections), texts


def program_section(texts: dict[str, str], layout: Layout, program: Program, priority: int) -> str:
    return section(
        texts,
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


def section(texts: dict[str, str], title: str, **values: object) -> str:
    """Return one section. A value with a special character moves to `texts`, and the section refers to it.

    supervisord ends a value at ` ;` or ` #`, expands `%`, and knows no escape for the former two.
    """
    lines = []
    for name, value in values.items():
        text = str(value)
        if "\n" in text or "\r" in text:
            raise RunError(f"A path contains a line break: move the project to another folder ({text!r}).")
        if SPECIAL.search(text):
            variable = f"FINTECH_TEXT_{len(texts)}"
            texts[variable] = text
            text = f"%(ENV_{variable})s"
        lines.append(f"{name} = {text}")
    return "\n".join([f"[{title}]", *lines, ""])
