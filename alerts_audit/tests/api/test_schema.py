"""schemathesis against the running service and the trail's part of its document."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from alerts_audit.permissions import issue_token
from alerts_audit.tests.factories import make_user
from fintech.testing.processes import Platform

pytestmark = pytest.mark.processes

HERE = Path(__file__).parent


def test_the_trails_api_does_what_its_document_says(tmp_path):
    """No 5xx, no status, content type, header or body that the document does not have; what it forbids is refused."""
    _, token = issue_token(user=make_user(group="auditor"), name="test")
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(HERE / "schemathesis.toml"), "run"]
    options = ["--max-examples", "5", "--seed", "1", "--workers", "1", "--request-timeout", "30", "--no-color"]
    options += ["--continue-on-failure", "--include-path-regex", "^/v1/alerts/"]
    with Platform(tmp_path, workers=1, worker=False) as platform:
        run = subprocess.run(
            [*command, *options, "--header", f"Authorization: Bearer {token}", f"{platform.url}/v1/schema"],
            cwd=tmp_path,
            env=dict(os.environ),
            capture_output=True,
            text=True,
            timeout=150,
            check=False,
        )

    assert run.returncode == 0, run.stdout + run.stderr
    tested = re.search(r"(\d+) generated, (\d+) passed", run.stdout)
    assert tested is not None, run.stdout
    assert int(tested[1]) > 300
