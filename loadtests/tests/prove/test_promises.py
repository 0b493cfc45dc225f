import json
from dataclasses import replace
from pathlib import Path

import pytest

from fintech.run.kpis import DRIFTS
from loadtests.drill import bounds, scorecard
from loadtests.drill.faults import FAULTS, Fault
from loadtests.drill.scorecard import Score
from loadtests.prove.promises import HOSTS, KILLS, PROMISES, TESTS, Result, judge
from loadtests.tests.quiet.test_document import RUN

AFTER_KILLS = {
    "kills": 40,
    "payments": 4000,
    "drift": dict.fromkeys(DRIFTS, 0.0),
    "findings": [],
    "deliveries": 30,
    "firings": 20,
    "unrecorded": [],
    "never_arrived": ["outage: ServiceDown"],
    "open_gaps": [],
    "verified": True,
}
LEDGER, FLEET, DRILLS, SILENCE, TRAIL, SLOW = (promise for promise, *_ in PROMISES)
OVER_HOSTS = {
    "done": {"leader_killed": 5, "host_removed": 5},
    "samples": 900,
    "drift_under_load": {},
    "payments": 4000,
    "lost_payments": [],
    "differences": {},
    "alerts": 500,
    "lost_alerts": [],
    "findings": [],
}


def write_evidence(folder: Path, hosts: dict[str, object] | None = None, **changes: object) -> None:
    (folder / KILLS).write_text(json.dumps(AFTER_KILLS | changes))
    (folder / HOSTS).write_text(json.dumps(OVER_HOSTS | (hosts or {})))
    (folder / "quiet.json").write_text(json.dumps([RUN]))
    scorecard.write([complete(fault) for fault in FAULTS], folder)
    write_tests(folder)


def complete(fault: Fault) -> Score:
    times = {"pending": 1.0, "firing": 2.0, "notified": 3.0, "recorded": 4.0, "bound": 9.0}
    return Score(fault.name, fault.alert, "critical", fault.made, **(times if fault.alert else {}), delivery=1, leaf=1)


def write_tests(folder: Path, failures: int = 0) -> None:
    counts = f'tests="12" failures="{failures}" errors="0" skipped="1"'
    (folder / TESTS).write_text(f"<testsuites><testsuite {counts}></testsuite></testsuites>")


def broken(folder: Path) -> list[str]:
    return [result.promise for result in judge(folder) if not result.held]


def test_without_evidence_every_promise_is_broken(tmp_path):
    assert broken(tmp_path) == [promise for promise, *_ in PROMISES]
    assert all("no evidence" in result.figure or " 0 of " in f" {result.figure}" for result in judge(tmp_path))


def test_with_good_evidence_every_promise_holds(tmp_path):
    write_evidence(tmp_path)

    assert broken(tmp_path) == []


@pytest.mark.parametrize(
    ("change", "promise"),
    [
        ({"drift": {**dict.fromkeys(DRIFTS, 0.0), 'kpi_drift{status="failed"}': 1.0}}, LEDGER),
        ({"drift": dict.fromkeys(DRIFTS[1:], 0.0)}, LEDGER),
        ({"drift": {**dict.fromkeys(DRIFTS, 0.0), "kpi_unseen_epochs": 1.0}}, LEDGER),
        ({"findings": ["audit_ledger"]}, LEDGER),
        ({"payments": 0}, LEDGER),
        ({"open_gaps": ["inhibited: ServiceDown"]}, TRAIL),
        ({"unrecorded": ["ServiceDown"]}, TRAIL),
        ({"firings": 0}, TRAIL),
        ({"verified": False}, TRAIL),
        ({"deliveries": 0}, TRAIL),
    ],
)
def test_a_difference_after_the_kills_breaks_its_promise(tmp_path, change, promise):
    write_evidence(tmp_path, **change)

    assert broken(tmp_path) == [promise]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"drift_under_load": {"kpi_drift": 604}}, "kpi_drift"),
        ({"differences": {"succeeded": -1}}, "succeeded"),
        ({"findings": ["reconcile"]}, "reconcile"),
        ({"lost_payments": ["id"]}, "1 lost"),
        ({"lost_alerts": ["name"]}, "1 lost"),
        ({"samples": 0}, "0 samples"),
        ({"payments": 0}, "0 payments"),
        ({"alerts": 0}, "0 alerts"),
    ],
)
def test_a_difference_over_several_hosts_breaks_its_promise(tmp_path, change, named):
    write_evidence(tmp_path, change)

    [result] = [result for result in judge(tmp_path) if not result.held]
    assert (result.promise, named in result.figure) == (FLEET, True)


@pytest.mark.parametrize("name", ["gateway unavailable", "a web process is killed", "memory runs out"])
def test_a_drill_without_figures_is_named_also_if_another_brings_its_alert(tmp_path, name):
    write_evidence(tmp_path)
    (tmp_path / "scorecard.json").unlink()
    scorecard.write([complete(fault) for fault in FAULTS if fault.name != name], tmp_path)

    [result] = [result for result in judge(tmp_path) if not result.held]
    assert (result.promise, result.figure.endswith(f" alerts fired by a fault; not: {name}")) == (DRILLS, True)


def test_the_page_names_five_drills_if_many_have_no_figures(tmp_path):
    write_evidence(tmp_path)
    (tmp_path / "scorecard.json").unlink()

    [result] = [result for result in judge(tmp_path) if not result.held]
    assert result.figure.startswith(f"0 of {len(bounds.alerts())} alerts fired by a fault; not: gateway errors, ")
    assert result.figure.endswith(f" and {len(FAULTS) - 5} more")


def test_drills_that_were_measured_again_are_counted(tmp_path):
    write_evidence(tmp_path)
    scorecard.write([replace(complete(FAULTS[0]), repeated="not in time")], tmp_path)

    [result] = [result for result in judge(tmp_path) if result.promise == DRILLS]
    assert (result.held, result.figure.partition(", ")[2]) == (True, "1 drills measured again, alone")


def test_a_false_positive_breaks_silence(tmp_path):
    write_evidence(tmp_path)
    (tmp_path / "quiet.json").write_text(json.dumps([RUN, RUN | {"false_positives": {"TargetDown": {"2": 1}}}]))

    assert broken(tmp_path) == [SILENCE]


def test_a_run_that_did_not_see_the_alerts_breaks_silence(tmp_path):
    write_evidence(tmp_path)
    (tmp_path / "quiet.json").write_text(json.dumps([RUN | {"blind_seconds": 14_000.0}]))

    assert broken(tmp_path) == [SILENCE]


def test_a_failed_slow_test_is_counted(tmp_path):
    write_evidence(tmp_path)
    write_tests(tmp_path, failures=2)

    assert broken(tmp_path) == [SLOW]


def test_evidence_that_is_no_evidence_breaks_its_promise(tmp_path):
    write_evidence(tmp_path)
    (tmp_path / "quiet.json").write_text("{")

    assert broken(tmp_path) == [SILENCE]


def test_a_line_has_promise_figure_and_file():
    assert Result("P", False, "1 of 2", "out/f.json").line() == "BROKEN  P: 1 of 2 (out/f.json)"
