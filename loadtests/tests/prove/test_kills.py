"""After kills under load, the books are equal and the trail is complete."""

from types import SimpleNamespace

import pytest

from loadtests.drill.monitoring import is_installed
from loadtests.prove import kills


def test_a_drift_counts_that_was_measured_from_the_rest_on(monkeypatch):
    """Each look is a second after the one before."""
    clock = SimpleNamespace(now=100.0)
    successes = iter([95.0, 102.0, 102.0, 107.0])  # the measurement that ended at 102 may have begun before 100

    def read(_: object) -> dict[str, float]:
        clock.now += 1
        at = next(successes)
        return {f'worker_job_last_success_timestamp_seconds{{job="{job}"}}': at for job in kills.MEASURING}

    monkeypatch.setattr(kills, "time", SimpleNamespace(time=lambda: clock.now))
    monkeypatch.setattr(kills, "read_worker", read)

    kills.wait_until_measured(SimpleNamespace(platform=None))

    assert not list(successes)


@pytest.mark.processes
@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(not is_installed(), reason="Prometheus and Alertmanager are not both installed")
def test_after_kills_under_load_books_are_equal_and_the_trail_is_complete(tmp_path):
    said: list[str] = []

    figures = kills.run(tmp_path, 10, said.append)

    assert figures["kills"] > 0
    assert figures["payments"] > 0
    assert figures["deliveries"] > 0
    assert {name.partition("{")[0] for name in figures["drift"]} >= {"kpi_drift", "gateway_drift", "ledger_imbalance"}
    assert not any(figures["drift"].values())
    assert (figures["findings"], figures["unrecorded"], figures["open_gaps"]) == ([], [], [])
    assert figures["verified"]
    assert said == [f"{figures['kills']} kills under load; waiting for rest."]
