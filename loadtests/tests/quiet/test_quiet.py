"""The command itself, on a platform of its own."""

import json
import subprocess
import sys

import pytest

from fintech.testing.processes import IN_FULL
from loadtests.drill.monitoring import is_installed
from loadtests.quiet.__main__ import arguments
from loadtests.quiet.document import MAX_BLIND_SECONDS, MAX_PENDING_SECONDS
from loadtests.tests.simulator import ROOT


@pytest.mark.parametrize(
    "options", [["--hours", "0"], ["--hours", "x"], ["--speed", "0.5"], ["--speed", "100"], ["--traffic", "none"]]
)
def test_a_wrong_option_is_refused(options, capsys):
    with pytest.raises(SystemExit) as ended:
        arguments(options)

    assert ended.value.code == 2
    assert options[0] in capsys.readouterr().err


@pytest.mark.processes
@pytest.mark.slow
@pytest.mark.skipif(IN_FULL, reason="`make prove` runs hours")
@pytest.mark.skipif(not is_installed(), reason="Prometheus and Alertmanager are not both installed")
def test_in_ten_minutes_of_ordinary_traffic_nothing_fires_but_the_heartbeat(tmp_path):
    command = [sys.executable, "-m", "loadtests.quiet", "--hours", "0.17", "--speed", "10", "--out", str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            output, _ = process.communicate(timeout=160)
        finally:
            process.terminate()  # it stops its platform

    assert process.returncode == 0, output
    [run] = json.loads((tmp_path / "quiet.json").read_text())
    assert (run["hours"], run["speed"]) == (0.17, 10)
    assert run["disturbances"] == {"killed web process": 1}
    assert run["payments"] > 100
    # Ten times as fast, each second in which a killed process starts again is ten of the rules.
    assert max(run["pending_seconds"].values(), default=0) <= MAX_PENDING_SECONDS
    assert run["blind_seconds"] <= MAX_BLIND_SECONDS
    assert run["trail"] == "verified"
