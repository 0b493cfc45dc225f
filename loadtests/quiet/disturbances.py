"""Events of an ordinary day, none of which is a reason for an alert."""

import os
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path

from loadtests.drill.lab import Drill

SLOW_COMMIT_MICROSECONDS = 50_000


def restart_worker(drill: Drill) -> None:
    worker = drill.own.platform.worker
    assert worker is not None
    worker.stop()
    drill.own.platform.start()


def kill_web_process(drill: Drill) -> None:
    """Kill one web process; gunicorn starts another."""
    drill.own.platform.kill_one_worker()


def deploy(drill: Drill) -> None:
    """Reload the web, as a deployment does: new processes take over, and the old ones finish their requests."""
    os.kill(drill.own.platform.web.pid, signal.SIGHUP)


def slow_database(drill: Drill) -> None:
    """Delay every commit, until the next disturbance."""
    drill.execute(
        f"ALTER SYSTEM SET commit_delay = {SLOW_COMMIT_MICROSECONDS}",
        "ALTER SYSTEM SET commit_siblings = 0",
        "SELECT pg_reload_conf()",
    )


def restore_database(drill: Drill) -> None:
    drill.execute("ALTER SYSTEM RESET commit_delay", "ALTER SYSTEM RESET commit_siblings", "SELECT pg_reload_conf()")


def rotate_keys(drill: Drill) -> None:
    """Change the key that signs the trail, and give the merchant another API key."""
    with tempfile.TemporaryDirectory() as folder:
        for words in (("audit_key", "rotate"), ("bootstrap", f"--out={folder}")):
            code, printed = drill.own.manage(*words)
            if code != 0:
                raise RuntimeError(f"manage.py {' '.join(words)}: {printed}")
        drill.own.api_key = (Path(folder) / "api_key").read_text(encoding="utf-8").strip()


# New processes need seconds of the clock to start, however fast the rules run: at speed 20, three of them are a minute.
REAL_TIME_ONLY = ("restart of the worker", "deployment (HUP)")
DISTURBANCES: dict[str, Callable[[Drill], None]] = {
    "restart of the worker": restart_worker,
    "killed web process": kill_web_process,
    "deployment (HUP)": deploy,
    "slow database": slow_database,
    "end of the slow database": restore_database,
    "rotated keys": rotate_keys,
}
