"""Each fault sends its own alert to the trail, and no other.

`make prove` runs each fault until its alert resolves, on a platform that it shares with faults of the same conditions.
`make test` runs three of them in observability/tests/test_alert_trail.py.
"""

from collections.abc import Iterator

import pytest

from fintech.testing.processes import IN_FULL
from loadtests.drill import NotPossible, bounds, scorecard
from loadtests.drill.faults.catalogue import FAULTS
from loadtests.drill.monitoring import is_installed
from loadtests.drill.platforms import Platforms
from loadtests.drill.steps import run

pytestmark = pytest.mark.in_order  # faults that share a platform follow each other

# Alerts whose drill has not been measured to its end. The aim is an empty list.
NOT_PROVEN: set[str] = set()


@pytest.fixture(scope="module")
def platforms(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platforms]:
    with Platforms(lambda: tmp_path_factory.mktemp("drill")) as platforms:
        yield platforms


@pytest.fixture(scope="module")
def scores() -> Iterator[list[scorecard.Score]]:
    """Collect the scores of the passed faults, and write them into the scorecard."""
    scores: list[scorecard.Score] = []
    yield scores
    scorecard.write(scores)


def test_every_alert_is_brought_by_a_fault_or_is_listed_as_not_proven():
    assert {fault.alert for fault in FAULTS} - {None} | NOT_PROVEN == bounds.alerts().keys()


def test_every_alert_that_a_fault_brings_is_in_the_scorecard():
    proven = {score.alert for score in scorecard.read().values() if score.recorded is not None}
    assert proven == bounds.alerts().keys() - NOT_PROVEN


def test_the_scorecard_for_people_holds_the_measured_faults():
    scores = scorecard.read()
    assert (scorecard.FOLDER / "scorecard.md").read_text() == scorecard.document(scores.values())
    assert {fault.name: fault.alert for fault in FAULTS if fault.alert not in NOT_PROVEN} == {
        score.fault: score.alert for score in scores.values()
    }


@pytest.mark.processes
@pytest.mark.slow
@pytest.mark.skipif(not is_installed(), reason="Prometheus and Alertmanager are not both installed")
@pytest.mark.skipif(not IN_FULL, reason="a minute and a half each: `make prove`")
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_brings_its_own_alert_and_no_other(platforms, scores, fault):
    try:
        with platforms.platform_for(fault) as drill:
            scores.append(scorecard.score(run(fault, drill)))
    except NotPossible as reason:
        pytest.skip(str(reason))
    print(scores[-1].row())
