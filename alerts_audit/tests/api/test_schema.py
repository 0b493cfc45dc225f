"""schemathesis against the running service and the trail's part of its document."""

from pathlib import Path

import pytest

from alerts_audit.permissions import issue_token
from alerts_audit.tests.factories import make_user
from fintech.testing.document import EVERYTHING, SYSTEMATIC, check_document
from fintech.testing.processes import Platform

pytestmark = pytest.mark.processes


@pytest.mark.parametrize(
    ("phases", "least"), [(SYSTEMATIC, 200), pytest.param(EVERYTHING, 300, marks=pytest.mark.slow)]
)
def test_the_trails_api_does_what_its_document_says(tmp_path, phases, least):
    _, token = issue_token(user=make_user(group="auditor"), name="test")
    configuration = Path(__file__).with_name("schemathesis.toml")
    with Platform(tmp_path, workers=1, worker=False) as platform:
        paths = ("--include-path-regex", "^/v1/alerts/")

        assert check_document(platform, configuration, token, *paths, phases=phases, examples=5) > least
