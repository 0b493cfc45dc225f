"""`python -m loadtests.prove`: what it keeps, and what it says about evidence that is missing."""

import os
import shutil
import subprocess
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any, NoReturn
from unittest.mock import patch

import pytest

from fintech.testing.processes import BASE_DIR
from loadtests.drill import choose
from loadtests.drill.choose import git
from loadtests.drill.monitoring import is_installed
from loadtests.prove.__main__ import COMMIT, PARTS, gather, prepare, stamp, write_figures
from loadtests.prove.promises import HOSTS, KILLS, PROMISES, SCORECARD, TESTS
from loadtests.tests.prove.test_promises import write_evidence

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(not is_installed(), reason="Prometheus and Alertmanager are not both installed"),
]


def prove(*words: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "loadtests.prove", *map(str, words)]
    return subprocess.run(command, cwd=BASE_DIR, capture_output=True, text=True, check=False, timeout=120)


def write_evidence_of_this_code(folder: Path) -> None:
    write_evidence(folder)
    (folder / COMMIT).write_text(stamp(folder))


def interrupt(folder: Path, *only: str) -> set[str]:
    """Interrupt a run in its first part; return the names of the files that are left."""

    def start(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    options = Namespace(out=folder, only=only or tuple(PARTS), resume=False)
    with patch.dict(PARTS, {"kills": (KILLS, start)}), pytest.raises(KeyboardInterrupt):
        gather(options)
    return {path.name for path in folder.iterdir()}


@pytest.mark.skipif(not git("rev-parse", "HEAD"), reason="this is no Git repository")
def test_resumed_it_keeps_the_evidence_of_promises_that_hold(tmp_path):
    write_evidence_of_this_code(tmp_path)

    done = prove("--resume", "--out", tmp_path)

    assert done.returncode == 0, done.stdout + done.stderr
    for number, part in enumerate(["kills", "hosts", "silence", "drills", "tests"], 1):
        assert f"{number}/5 {part}: kept" in done.stdout
    assert [line[:6] for line in done.stdout.splitlines()[-len(PROMISES) :]] == ["held  "] * len(PROMISES)


def test_an_interrupted_run_leaves_no_evidence_of_an_earlier_one(tmp_path):
    write_evidence_of_this_code(tmp_path)

    assert not interrupt(tmp_path) & {evidence for evidence, _ in PARTS.values()}
    assert (tmp_path / COMMIT).read_text() == f"{stamp(tmp_path)}\n"


def test_a_run_of_one_part_keeps_the_evidence_of_the_others(tmp_path):
    write_evidence_of_this_code(tmp_path)

    left = interrupt(tmp_path, "kills")
    assert KILLS not in left
    assert left > {HOSTS, SCORECARD, TESTS}


@pytest.mark.parametrize("commit", ["0" * 40, ""])
@pytest.mark.skipif(not git("rev-parse", "HEAD"), reason="this is no Git repository")
def test_evidence_of_other_code_is_neither_kept_nor_resumed(tmp_path, commit):
    write_evidence(tmp_path)
    if commit:
        (tmp_path / COMMIT).write_text(commit)

    done = prove("--resume", "--out", tmp_path)

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: The evidence in {tmp_path} is of other code ({commit or 'unknown'}): ")
    assert done.stderr.count("\n") == 1
    assert (tmp_path / HOSTS).exists()
    assert not interrupt(tmp_path, "kills") & {KILLS, HOSTS, SCORECARD, TESTS}


@pytest.fixture
def repository(tmp_path, monkeypatch) -> Path:
    """A repository with one file, whose folder `evidence` is for the evidence."""
    folder = tmp_path / "repository"
    folder.mkdir()
    monkeypatch.setattr(choose, "BASE_DIR", folder)
    (folder / "code.py").write_text("1")
    for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "Begin"]):
        subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b.example", *words], cwd=folder, check=True)
    return folder


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_changes_that_are_not_committed_are_other_code_and_evidence_is_not(repository):
    out = repository / "evidence"
    out.mkdir()
    write_evidence(out)
    assert stamp(out) == git("rev-parse", "HEAD").strip()

    (repository / "code.py").write_text("2")
    changed = stamp(out)
    (repository / "new.py").write_text("3")
    added = stamp(out)
    (repository / "new.py").write_text("4")
    assert len({git("rev-parse", "HEAD").strip(), changed, added, stamp(out)}) == 4


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_evidence_of_code_that_changed_since_is_not_resumed(repository, tmp_path):
    assert prepare(tmp_path, ["kills"], resume=False) == ""
    write_evidence(tmp_path)
    assert prepare(tmp_path, ["kills"], resume=True) == ""

    (repository / "code.py").write_text("2")

    assert "is of other code" in prepare(tmp_path, ["kills"], resume=True)


def test_without_git_nothing_is_resumed(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert prepare(tmp_path, ["kills"], resume=True).startswith("Without Git, the code of the evidence in ")
    assert prepare(tmp_path, ["kills"], resume=False) == ""


def test_the_page_of_evidence_that_is_missing_fails(tmp_path):
    write_evidence(tmp_path)
    (tmp_path / KILLS).unlink()

    done = prove("--page", "--out", tmp_path)

    assert done.returncode == 1
    broken = [line for line in done.stdout.splitlines() if line.startswith("BROKEN")]
    assert len(broken) == 2
    assert all("no evidence" in line and KILLS in line for line in broken)


def test_a_part_that_fails_leaves_no_evidence_and_does_not_end_the_others(tmp_path, capsys):
    def measure(*_: object) -> dict[str, Any]:
        raise FileNotFoundError("no such data")

    evidence = tmp_path / KILLS
    evidence.write_text("{}")
    with patch.dict(os.environ):
        write_figures(evidence, measure, 1)

    assert not evidence.exists()
    assert "FAILED: FileNotFoundError: no such data" in capsys.readouterr().out


def test_an_unknown_part_is_refused():
    done = prove("--only", "nonsense")
    assert (done.returncode, done.stdout) == (2, "")
    assert "invalid choice: 'nonsense'" in done.stderr
