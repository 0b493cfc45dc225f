"""gunicorn's configuration on machines that differ from ours."""

import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from fintech.run.layout import BASE_DIR
from fintech.server import draining


@pytest.mark.parametrize(("exists", "expected"), [(True, "/dev/shm"), (False, None)])
def test_the_heartbeat_file_is_in_memory_where_the_system_has_such_a_folder(monkeypatch, exists, expected):
    is_dir = Path.is_dir
    monkeypatch.setattr(Path, "is_dir", lambda path: exists if path == Path("/dev/shm") else is_dir(path))

    configuration = runpy.run_path(str(BASE_DIR / "fintech" / "server" / "gunicorn.py"))

    assert configuration["worker_tmp_dir"] == expected


def test_a_start_ends_the_draining_of_the_process_before(monkeypatch, tmp_path):
    monkeypatch.setenv("RUNTIME_DIR", str(tmp_path))
    draining.mark().touch()
    configuration = runpy.run_path(str(BASE_DIR / "fintech" / "server" / "gunicorn.py"))

    configuration["on_starting"](None)

    assert not draining.is_draining()


@pytest.mark.processes
def test_libraries_are_loaded_before_the_fork_and_the_apps_after_it():
    code = "import sys; from fintech.server import gunicorn; gunicorn.when_ready(None); print(*sys.modules)"
    environment = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    command = [sys.executable, "-c", code]
    run = subprocess.run(command, cwd=BASE_DIR, env=environment, capture_output=True, text=True, check=True)
    loaded = set(run.stdout.split())

    assert {"django.contrib.admin", "drf_spectacular.openapi", "psycopg_pool"} <= loaded
    assert {name.partition(".")[0] for name in loaded}.isdisjoint({"payments", "alerts_audit", "django_prometheus"})
