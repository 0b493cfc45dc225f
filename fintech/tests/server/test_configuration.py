"""gunicorn's configuration on machines that differ from ours."""

import runpy
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
