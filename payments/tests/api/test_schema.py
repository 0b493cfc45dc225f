"""schemathesis against the running service and its own document: 1,500 requests, valid and not."""

import os
import re
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from payments.api.filters import write_cursor

pytestmark = pytest.mark.processes

HERE = Path(__file__).parent


def test_the_service_does_what_its_document_says(platform, client, tmp_path):
    """No 5xx, no status, content type, header or body that the document does not have; what the document forbids is
    refused, and what it allows is taken."""
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(HERE / "schemathesis.toml"), "run"]
    options = [
        "--max-examples",
        "10",
        "--seed",
        "1",
        "--workers",
        "1",  # with threads, Python 3.11 at times loses count of its depth in an AST that hypothesis builds
        "--request-timeout",
        "30",
        "--no-color",
        "--continue-on-failure",
        "--exclude-path-regex",
        "^/v1/alerts/",  # with a token of another kind: alerts_audit/tests/api/test_openapi.py
    ]
    run = subprocess.run(
        [*command, *options, "--header", f"Authorization: Bearer {client.api_key}", f"{platform.url}/v1/schema"],
        cwd=tmp_path,
        env={
            **os.environ,
            "SCHEMATHESIS_HOOKS": "schemathesis_hooks",
            "PYTHONPATH": str(HERE),
            "CURSOR": write_cursor(uuid.uuid4()),
        },
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )

    assert run.returncode == 0, run.stdout + run.stderr
    tested = re.search(r"(\d+) generated, (\d+) passed", run.stdout)
    assert tested is not None, run.stdout
    assert int(tested[1]) > 1000
