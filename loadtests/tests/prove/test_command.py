"""`python -m loadtests.prove`: what it keeps, and what it says about evidence that is missing."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from fintech.testing.processes import BASE_DIR
from loadtests.drill.monitoring import is_installed
from loadtests.prove.__main__ import write_figures
from loadtests.prove.promises import KILLS, PROMISES
from loadtests.tests.prove.test_promises import write_evidence

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(not is_installed(), reason="Prometheus and Alertmanager are not both installed"),
]


def prove(*words: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "loadtests.prove", *map(str, words)]
    return subprocess.run(command, cwd=BASE_DIR, capture_output=True, text=True, check=False, timeout=120)


def test_resumed_it_keeps_the_evidence_of_promises_that_hold(tmp_path):
    write_evidence(tmp_path)

    done = prove("--resume", "--out", tmp_path)

    assert done.returncode == 0, done.stdout + done.stderr
    for number, part in enumerate(["kills", "hosts", "silence", "drills", "tests"], 1):
        assert f"{number}/5 {part}: kept" in done.stdout
    assert [line[:6] for line in done.stdout.splitlines()[-len(PROMISES) :]] == ["held  "] * len(PROMISES)


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
