"""A test run drills a fault that the last change touched, and another one in turn."""

import re
import shutil
import subprocess
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import cache

import pytest

from fintech.testing.processes import IN_FULL
from loadtests.drill import NotPossible, choose, scorecard
from loadtests.drill.bounds import RULES
from loadtests.drill.choose import chosen_here, is_short, touched
from loadtests.drill.faults import FAULTS, Fault
from loadtests.drill.lab import SPEED, Drill
from loadtests.drill.monitoring import is_installed
from loadtests.drill.platforms import groups, own_platforms
from loadtests.drill.steps import run

NOW = {path.name: path.read_text(encoding="utf-8") for path in RULES.glob("*.yml")}
SCORES = scorecard.read()
SHORT = [fault for fault in FAULTS if is_short(fault, SCORES.get(fault.name))]


def change_rules(name: str, pattern: str, text: str) -> dict[str, str]:
    changed, times = re.subn(pattern, text, NOW[name], count=1)
    assert times == 1
    return NOW | {name: changed}


def alerts(faults: list[Fault]) -> set[str | None]:
    return {fault.alert for fault in faults}


def test_a_changed_rule_touches_its_alert_and_no_other():
    before = change_rules("integrity.yml", r"(alert: WebhookUnauthorized[\s\S]*?for: )\w+", r"\g<1>77m")
    assert alerts(touched(["observability/prometheus/rules/integrity.yml"], before, NOW)) == {"WebhookUnauthorized"}


def test_a_changed_recorded_series_touches_the_alerts_that_read_it():
    before = change_rules("slo.yml", r"(record: slo:burn_rate:3d\s+expr: )", r"\g<1>2 * ")
    assert alerts(touched([], before, NOW)) == {"ErrorBudgetBurnSlow"}


def test_a_new_alert_is_touched():
    before = change_rules("integrity.yml", "alert: WebhookUnauthorized", "alert: AnotherName")
    assert alerts(touched([], before, NOW)) == {"WebhookUnauthorized"}


@pytest.mark.parametrize(
    ("path", "alert"),
    [
        ("observability/prometheus/tests/KpiDrift.yml", "KpiDrift"),
        ("observability/runbooks/ServiceDown.md", "ServiceDown"),
    ],
)
def test_a_file_with_an_alerts_name_touches_it(path, alert):
    assert alerts(touched([path, "payments/models/ledger.py"], NOW, NOW)) == {alert}


def test_the_module_of_a_fault_touches_the_faults_that_it_makes():
    assert alerts(touched(["loadtests/drill/injectors/machine.py"], NOW, NOW)) == {"DiskSpaceLow", "DiskSpaceCritical"}


@pytest.mark.parametrize(
    ("path", "some", "not_one"),
    [
        ("payments/services/charges.py", "PaymentErrorRatioHigh", "AuditBroken"),
        ("alerts_audit/seal/sealer.py", "AuditBroken", "PaymentErrorRatioHigh"),
        ("fintech/server/gunicorn.py", "ServiceDown", "AuditBroken"),
    ],
)
def test_a_change_elsewhere_touches_the_alerts_about_its_part(path, some, not_one):
    found = alerts(touched([path], NOW, NOW))
    assert some in found
    assert not_one not in found


@pytest.mark.parametrize("path", ["README.md", "docs/api.md", "payments.md", "payments"])
def test_a_change_of_a_document_touches_nothing(path):
    assert touched([path], NOW, NOW) == []


def test_two_drills_run_at_most_one_of_them_touched():
    near = SHORT[3:6]
    for turn in range(20):
        first, second = choose.choose(near, turn)
        assert first in near
        assert second in SHORT
        assert second not in near


def test_each_short_fault_has_its_turn():
    assert [choose.choose([], turn)[0] for turn in range(len(SHORT))] == SHORT


def test_a_long_fault_is_not_chosen_also_if_it_is_touched():
    hours = next(fault for fault in FAULTS if fault.alert == "AuditUnverified")
    assert hours not in choose.choose([hours], 0)
    assert len(choose.choose([hours], 0)) == 1


def test_a_fault_that_was_not_measured_is_not_chosen():
    assert not is_short(SHORT[0], None)


@pytest.mark.processes
def test_the_same_commit_chooses_the_same_drills():
    assert chosen_here() == chosen_here()


@pytest.mark.processes
def test_without_git_one_short_drill_remains(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert chosen_here() == [SHORT[0]]


@pytest.mark.processes
@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_a_shallow_clone_has_nothing_touched(tmp_path, monkeypatch):
    def git(*words: str) -> None:
        subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b.example", *words], cwd=tmp_path, check=True)

    git("init", "-q")
    git("commit", "-q", "--allow-empty", "-m", "Begin")
    monkeypatch.setattr(choose, "BASE_DIR", tmp_path)
    monkeypatch.setattr(choose, "RULES", tmp_path / "rules")
    assert len(chosen_here()) == 1


@cache
def drills_of_this_run() -> list[Fault]:
    return chosen_here()


@pytest.mark.processes
@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(not is_installed(), reason="Prometheus and Alertmanager are not both installed")
@pytest.mark.skipif(IN_FULL, reason="`make prove` runs all drills")
@pytest.mark.parametrize("number", [0, 1])
def test_a_chosen_fault_brings_its_own_alert_and_no_other(tmp_path, number):
    chosen = groups(drills_of_this_run())
    if number >= len(chosen):
        pytest.skip("one platform is enough for the drills of this commit")
    impossible: list[str] = []
    with own_platforms(tmp_path) as platform_for:
        for fault in chosen[number]:
            try:
                attempt(platform_for, fault)
            except NotPossible as reason:
                impossible.append(str(reason))
            except AssertionError as error:
                # A machine that is busy for seconds looks like a fault to rules that run 20 times as fast as the clock.
                print(f"{fault.name}: {error}\nAgain, at half the speed:")
                with own_platforms(tmp_path) as slower:
                    attempt(slower, fault.at_speed(SPEED / 2))
    if len(impossible) == len(chosen[number]):
        pytest.skip("; ".join(impossible))


def attempt(platform_for: Callable[[Fault], AbstractContextManager[Drill]], fault: Fault) -> None:
    with platform_for(fault) as drill:
        run(fault, drill, timed=False)
