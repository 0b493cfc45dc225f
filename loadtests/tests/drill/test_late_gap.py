from types import SimpleNamespace

import pytest

from fintech.testing.processes import TooLate
from loadtests.drill.injectors import trail


def test_a_gap_that_is_not_open_in_time_makes_its_drill_late_so_that_it_runs_again_alone(monkeypatch):
    monkeypatch.setattr(trail, "change_alertmanager", lambda *_: None)
    monkeypatch.setattr(trail, "GAP_SECONDS", 0)
    with pytest.raises(TooLate, match="the alert is a gap"):
        trail.deliver_again(SimpleNamespace(own=SimpleNamespace(query=lambda *_: [])))
