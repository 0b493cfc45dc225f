"""`python -m loadtests.drill`: its words, its refusals, and what an interruption leaves."""

import math
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import psutil
import pytest

from fintech.testing.processes import BASE_DIR, TooLate, wait_until
from loadtests.drill import NotPossible, page, scorecard
from loadtests.drill import __main__ as command
from loadtests.drill.__main__ import BY_SLUG, Provider, chosen, listing, run_all
from loadtests.drill.faults import FAULTS, Fault
from loadtests.drill.lab import SPEED
from loadtests.drill.monitoring import is_installed
from loadtests.drill.running_platform import in_real_time
from loadtests.drill.steps import OWN_PACE_SECONDS, DrillFailed, Timeline
from loadtests.tests.prove.test_promises import complete

NOWHERE = Path("no such folder")


def test_the_list_names_each_fault_once_with_its_alert():
    assert len(BY_SLUG) == len(FAULTS) == len(listing().splitlines())
    assert all((fault.alert or "no alert") in line for fault, line in zip(FAULTS, listing().splitlines(), strict=True))


def test_faults_run_in_the_order_of_the_catalogue_in_which_they_share_platforms():
    chosen_faults = chosen(["declines", "gateway-errors"], NOWHERE)
    assert [fault.name for fault in chosen_faults] == ["gateway errors", "declines"]
    assert chosen(["all"], NOWHERE) == FAULTS


def test_incomplete_are_the_faults_whose_figures_are_not_all_in_the_folder(tmp_path):
    assert chosen(["incomplete"], NOWHERE) == FAULTS
    scores = [complete(fault) for fault in FAULTS]
    scorecard.write([replace(scores[0], notified=None), replace(scores[2], leaf=None), *scores[3:]], tmp_path)
    assert chosen(["incomplete"], tmp_path) == FAULTS[:3]
    scorecard.write(scores, tmp_path)
    assert chosen(["incomplete"], tmp_path) == []


@pytest.mark.parametrize("words", [["gateway-error"], ["all", "nothing"], ["Gateway errors"]])
def test_an_unknown_fault_is_refused(words):
    with pytest.raises(ValueError, match=r"There is no fault .*: `python -m loadtests.drill list` names them\."):
        chosen(words, NOWHERE)


@pytest.mark.parametrize(
    ("words", "options", "reason"),
    [
        (["declines"], {"speed": 0.0}, "--speed 0 is not above 0 and at most 60."),
        (["declines"], {"speed": 60.5}, "--speed 60.5 is not above 0 and at most 60."),
        (["declines"], {"speed": math.nan}, "--speed nan is not above 0 and at most 60."),
        (["declines"], {"speed": 5.0, "against_running": True}, "--speed is not for --against-running"),
        (
            ["declines", "merchants-charge-less-than-a-day-before"],
            {"speed": 5.0},
            "merchants-charge-less-than-a-day-before: possible only at its own speed",
        ),
        (["the-worker-answers-scrapes-slowly"], {"speed": 20.0}, "the-worker-answers-scrapes-slowly: possible only"),
    ],
)
def test_a_speed_that_the_faults_cannot_have_is_refused(words, options, reason):
    with pytest.raises(ValueError, match=f"^{re.escape(reason)}"):
        chosen(words, NOWHERE, **options)


def test_a_fault_of_back_filled_days_may_be_given_its_own_speed():
    assert [fault.name for fault in chosen(["a-few-payments-fail-after-a-bad-day"], NOWHERE, speed=SPEED)] == [
        "a few payments fail after a bad day"
    ]


def test_at_another_speed_the_settings_in_the_rules_time_the_bound_and_the_fault_itself_take_longer():
    [usual], [slow] = (chosen(["a-route-swallows-an-alert"], NOWHERE, speed=speed) for speed in (20, 5))

    assert (usual.conditions.env["ALERT_GRACE_SECONDS"], slow.conditions.env["ALERT_GRACE_SECONDS"]) == ("4", "16")
    assert slow.conditions.minute == 4 * usual.conditions.minute
    # In real seconds; the pace of the programs stays as it is.
    bounds = [(Timeline(fault).bound or 0) / fault.conditions.speed - OWN_PACE_SECONDS for fault in (usual, slow)]
    assert bounds[1] > 3 * bounds[0]


def drill(*words: str | Path, **env: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "loadtests.drill", *map(str, words)]
    return subprocess.Popen(
        command, cwd=BASE_DIR, env=env or None, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.processes
def test_the_command_refuses_an_unknown_fault_with_one_sentence():
    process = drill("nonsense")
    printed, said = process.communicate(timeout=60)
    assert (process.returncode, printed) == (2, "")
    assert said == "error: There is no fault nonsense: `python -m loadtests.drill list` names them.\n"


@pytest.mark.processes
def test_the_command_refuses_an_impossible_speed_with_one_sentence():
    process = drill("declines", "--speed", "61")
    printed, said = process.communicate(timeout=60)
    assert (process.returncode, printed, said) == (2, "", "error: --speed 61 is not above 0 and at most 60.\n")


@pytest.mark.processes
@pytest.mark.skipif(not is_installed(), reason="Prometheus and Alertmanager are not both installed")
def test_a_platform_that_does_not_run_gets_no_fault(tmp_path, monkeypatch):
    monkeypatch.setenv("BASE_PORT", "9400")
    process = drill("declines", "--against-running", "--var", tmp_path, "--out", tmp_path / "out")
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "the web does not answer on port 9400: start the platform with `make run`" in printed


@pytest.mark.processes
@pytest.mark.slow
@pytest.mark.skipif(not is_installed(), reason="Prometheus and Alertmanager are not both installed")
def test_an_interrupted_drill_leaves_no_process(tmp_path):
    process = drill("gateway-errors", "declines", "--out", tmp_path)
    assert process.stdout is not None
    assert ": begins; its alert: " in process.stdout.readline()
    wait_until(lambda: len(processes_of(process.pid)) > 5, 120, "its programs run")
    started = processes_of(process.pid)

    process.send_signal(signal.SIGINT)

    _, said = process.communicate(timeout=120)
    assert (process.returncode, said) == (130, "The drills were interrupted; the fault and its platform are gone.\n")
    assert [child.name() for child in started if child.is_running() and child.status() != psutil.STATUS_ZOMBIE] == []


def processes_of(pid: int) -> list[psutil.Process]:
    return psutil.Process(pid).children(recursive=True)


class Refusing:
    """Provides no platform, and notes for which faults one was asked."""

    def __init__(self, refusal: Exception) -> None:
        self.asked: list[Fault] = []
        self.refusal = refusal

    @contextmanager
    def __call__(self) -> Iterator[Provider]:
        yield self.refuse

    def refuse(self, fault: Fault) -> NoReturn:
        self.asked.append(fault)
        raise self.refusal


@pytest.mark.parametrize(
    ("refusal", "at_once", "times"),
    [
        (TooLate("after 1 s still not: calm"), 3, 2),
        (TooLate("after 1 s still not: calm"), 1, 1),
        (DrillFailed("WebDown arrived, not DeclineRatioHigh"), 3, 1),
        (NotPossible("needs the exporters node"), 3, 1),
        (OSError("no space is left"), 3, 1),
    ],
)
def test_only_a_drill_that_is_late_beside_others_runs_once_more(tmp_path, capsys, refusal, at_once, times):
    provide = Refusing(refusal)
    assert run_all(FAULTS[:2], provide, tmp_path, at_once) == 1
    assert sorted(provide.asked, key=FAULTS.index) == [fault for fault in FAULTS[:2] for _ in range(times)]
    printed = capsys.readouterr().out
    assert printed.count("begins again, alone") == 2 * (times - 1)
    assert "0 of 2 drills went as expected" in printed
    assert scorecard.read(tmp_path) == {}


def test_a_drill_against_a_running_platform_replaces_no_measured_row(tmp_path, monkeypatch):
    measured = complete(FAULTS[0])
    scorecard.write([measured], tmp_path)
    timeline = Timeline(
        in_real_time(FAULTS[0]), dict.fromkeys(("began", "pending", "firing", "recorded", "removed"), 1.0)
    )
    monkeypatch.setattr(command, "running_platform", lambda *_, **__: nullcontext())
    monkeypatch.setattr(command, "run", lambda *_: timeline)

    options = command.arguments(["gateway-errors", "--against-running", "--out", str(tmp_path)])
    assert command.run_chosen(options, FAULTS[:1]) == 0

    assert scorecard.read(tmp_path) == {FAULTS[0].name: measured}
    assert (tmp_path / "scorecard.md").read_text().startswith("# Scorecard\n")
    [score] = scorecard.read(tmp_path / "running").values()
    assert (score.running, score.notified, score.recorded) == (True, None, 0)
    assert (tmp_path / "running" / "scorecard.md").read_text().startswith("# Scorecard of a running platform\n")


def test_a_drill_at_another_speed_replaces_no_measured_row(tmp_path, monkeypatch):
    measured = complete(FAULTS[0])
    scorecard.write([measured], tmp_path)
    stages = dict.fromkeys(("began", "pending", "firing", "notified", "recorded", "removed"), 1.0)
    monkeypatch.setattr(command, "own_folder", lambda: nullcontext(tmp_path))
    monkeypatch.setattr(command, "own_platforms", lambda _: nullcontext(nullcontext))
    monkeypatch.setattr(command, "run", lambda fault, *_: Timeline(fault, stages))

    options = command.arguments(["gateway-errors", "--speed", "5", "--out", str(tmp_path)])
    faults = chosen(options.faults, command.place(options), speed=options.speed)
    assert command.run_chosen(options, faults) == 0

    assert scorecard.read(tmp_path) == {FAULTS[0].name: measured}
    [score] = scorecard.read(tmp_path / "speed-5").values()
    assert (score.running, score.speed) == (False, 5)
    assert "It ran at speed 5; 1 is real time." in (tmp_path / "speed-5" / "scorecard.md").read_text()


def test_a_score_that_was_measured_again_says_so(tmp_path):
    late = "people were notified after 20.0 min; the bound is 11.8"
    scorecard.write([replace(complete(FAULTS[0]), repeated=late), complete(FAULTS[1])], tmp_path)
    page.write(tmp_path)
    rows = (tmp_path / "scorecard.md").read_text().splitlines()[-2:]
    assert ["real; measured again, alone" in row for row in rows] == [True, False]
    assert (tmp_path / "scorecard.html").read_text().count(late) == 1
