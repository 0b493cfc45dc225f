"""schemathesis against a running service and a part of its OpenAPI document."""

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from fintech.testing.processes import Platform

# Requests that the document itself suggests, and each limit that it states, from both sides.
SYSTEMATIC = "examples,coverage"
EVERYTHING = f"{SYSTEMATIC},fuzzing,stateful"


def check_document(
    platform: Platform,
    configuration: Path,
    token: str,
    *paths: str,
    phases: str,
    examples: int,
    env: Mapping[str, str] | None = None,
) -> int:
    """Fail on 5xx, on statuses, content types, headers and bodies that the document lacks, and on requests that it
    forbids and the service accepts, or the reverse. `paths` are options that choose paths. Return the number of
    requests. Only the random phases, fuzzing and stateful, use `examples`.
    """
    run = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(configuration), "run", "--no-color"),
            *("--phases", phases, "--max-examples", str(examples), "--seed", "1"),
            *("--request-timeout", "30", "--continue-on-failure"),
            # With threads, Python 3.11 at times loses count of its depth in an AST that hypothesis builds.
            *("--workers", "1", *paths, "--header", f"Authorization: Bearer {token}", f"{platform.url}/v1/schema"),
        ],
        cwd=platform.directory,
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        timeout=280,  # a slow machine needs more than two minutes
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    tested = re.search(r"(\d+) generated, (\d+) passed", run.stdout)
    assert tested is not None, run.stdout
    return int(tested[1])
