"""The virtual environment is made once, and again when the pins or the Python change."""

import subprocess
import sys
from pathlib import Path

import pytest

from fintech.run import venv


@pytest.fixture
def project(tmp_path: Path, monkeypatch) -> Path:
    """A project with an environment that is current; what would be run is kept in `ran`."""
    tmp_path = tmp_path / "für Kunden"
    tmp_path.mkdir()
    monkeypatch.setattr(venv, "BASE_DIR", tmp_path)
    monkeypatch.setattr(venv, "VENV", tmp_path / ".venv")
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "lib" / "python{}.{}".format(*sys.version_info) / "site-packages").mkdir(parents=True)
    for name in ("python", "pip"):
        (tmp_path / ".venv" / "bin" / name).touch()
    write_configuration(tmp_path, sys.version.split()[0])
    for name in ("requirements.txt", "requirements-dev.txt"):
        (tmp_path / name).write_text(f"pins of {name}")
    stamp = tmp_path / ".venv" / "installed-requirements-dev.txt"
    stamp.write_text(venv.stamp_of(tmp_path / "requirements-dev.txt"))
    return tmp_path


def write_configuration(project: Path, version: str) -> None:
    (project / ".venv" / "pyvenv.cfg").write_text(f"home = /usr/bin\nversion = {version}\n")


def test_development_pins_stand_for_those_of_the_platform(project):
    assert venv.is_current(project / "requirements-dev.txt")
    assert venv.is_current(project / "requirements.txt")


def test_changed_pins_are_noticed(project):
    (project / "requirements-dev.txt").write_text("other pins")

    assert not venv.is_current(project / "requirements-dev.txt")


def test_pins_of_the_platform_do_not_stand_for_those_of_development(project):
    (project / ".venv" / "installed-requirements-dev.txt").rename(project / ".venv" / "installed-requirements.txt")

    assert not venv.is_current(project / "requirements-dev.txt")


def test_an_environment_of_another_python_is_replaced(project, monkeypatch):
    write_configuration(project, "3.9.2")
    ran: list[list[str]] = []
    monkeypatch.setattr(venv, "run", lambda command, _: ran.append(command))

    assert not venv.is_current(project / "requirements.txt")
    venv.make(project / "requirements.txt")

    assert ran[0][1:4] == ["-m", "venv", "--clear"]
    assert ran[1][-2:] == ["--requirement", str(project / "requirements.txt")]
    assert "--no-user" in ran[1]


def test_the_project_is_importable_where_the_current_folder_is_not_searched(project, monkeypatch):
    monkeypatch.setattr(venv, "run", lambda *_: None)

    venv.make(project / "requirements.txt")

    [found] = (project / ".venv").rglob("*.pth")
    assert (found.parent / found.read_text().strip()).resolve() == project.resolve()
    assert found.read_text().isascii(), "Python reads it in the locale's encoding"


def test_an_environment_whose_python_is_gone_is_not_current(project):
    (project / ".venv" / "bin" / "python").unlink()

    assert not venv.is_current(project / "requirements.txt")


@pytest.mark.processes
def test_an_installation_that_fails_is_a_sentence_and_leaves_no_stamp(project):
    command = [sys.executable, "-c", "raise SystemExit(1)"]

    with pytest.raises(SystemExit, match="failed: pip says why above"):
        venv.run(command, "pip says why above")


def test_ctrl_c_during_the_installation_is_a_sentence(project, monkeypatch):
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    (project / "requirements.txt").write_text("other pins")
    (project / "requirements-dev.txt").write_text("other pins")
    monkeypatch.setattr(venv, "run", interrupt)
    monkeypatch.setattr(sys, "argv", ["venv", "requirements.txt"])
    monkeypatch.setattr(venv.environment, "drop_unknown", lambda **_: [])

    with pytest.raises(SystemExit, match="was interrupted: the next run installs again"):
        venv.main()


def test_a_python_that_is_too_old_is_a_sentence(monkeypatch):
    monkeypatch.setattr(venv.sys, "version_info", (3, 9, 2))

    with pytest.raises(SystemExit, match=r"does not fit: install Python 3\.11, 3\.12 or 3\.13"):
        venv.main()


@pytest.mark.processes
def test_it_runs_with_the_standard_library_alone():
    code = "import sys; sys.path.insert(0, '.'); import fintech.run.venv"

    subprocess.run([sys.executable, "-I", "-S", "-c", code], cwd=Path(venv.__file__).parents[2], check=True)
