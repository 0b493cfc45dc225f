"""An Alertmanager alone, with our routes."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from fintech.testing.processes import answers, free_port, running
from observability.render import alertmanager_command, render


@contextmanager
def running_alertmanager(directory: Path, **options: Any) -> Iterator[int]:
    """Run an Alertmanager with our routes, and with these options of `render`. Yield its port."""
    (directory / "token").write_text("none")
    nowhere = "127.0.0.1:1"
    render(
        directory,
        web_target=nowhere,
        worker_target=nowhere,
        alertmanager_target=nowhere,
        webhook_url=f"http://{nowhere}/alert",
        token_file=directory / "token",
        **options,
    )
    port = free_port()
    command = alertmanager_command(directory, directory / "data", f"127.0.0.1:{port}")
    if command is None:
        pytest.skip("Alertmanager is not installed")
    with running(command, log=directory / "log", ready=partial(answers, port, "/-/ready")):
        yield port
