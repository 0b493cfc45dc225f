"""`python -m loadtests.drill.undo`: wait until the drill that started it ends, and undo what it did if it was killed.

A drill against a running platform changes the faults of its gateway, and has a record in the trail. Neither would end
if the drill is killed by SIGKILL. So its guard reads from a pipe that only the drill holds open, as loadtests/guard.py.
"""

import http.client
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from fintech.testing.processes import BASE_DIR, request

OVER = "over"


@dataclass(frozen=True)
class Undo:
    """The end of a killed drill: the gateway has its `profile` of before again, and the drill's `record` ends."""

    gateway: int
    control_token: str
    profile: dict[str, Any]
    alertmanager: int
    record: dict[str, Any]

    def __call__(self) -> None:
        control = {"Authorization": f"Bearer {self.control_token}"}
        ended = {**self.record, "endsAt": datetime.now(UTC).isoformat()}
        for port, method, path, body, headers in (
            (self.gateway, "PATCH", "/control/profile", self.profile, control),
            (self.alertmanager, "POST", "/api/v2/alerts", [ended], {}),
        ):
            try:
                status: object = request(port, method, path, body, headers=headers).status
            except (OSError, http.client.HTTPException) as error:
                status = error
            if status != 200:
                sys.stderr.write(
                    f"The drill was killed, and {method} {path} on port {port} did not undo it: {status}\n"
                )


@contextmanager
def undone_if_killed(undo: Undo) -> Iterator[None]:
    """Start a guard, which leaves with the block, or does `undo` if this process is killed in it."""
    command = [sys.executable, "-m", "loadtests.drill.undo"]
    guard = subprocess.Popen(command, cwd=BASE_DIR, stdin=subprocess.PIPE, text=True, start_new_session=True)
    assert guard.stdin is not None
    guard.stdin.write(f"{json.dumps(asdict(undo))}\n")  # not an argument: others could read the token
    guard.stdin.flush()
    try:
        yield
    finally:
        guard.communicate(OVER)


if __name__ == "__main__":
    line = sys.stdin.readline()
    if line and sys.stdin.read() != OVER:
        Undo(**json.loads(line))()
