"""After kills under load, the books are equal and the trail is complete."""

import pytest

from loadtests.drill.monitoring import is_installed
from loadtests.prove import kills


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
