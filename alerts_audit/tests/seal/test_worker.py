"""The real worker seals, verifies and publishes; killed at any point, it goes on where it was."""

import os
import random
import sys
import time
from functools import partial

import pytest

from alerts_audit.tests.payloads import alertmanager_body
from alerts_audit.tests.seal.trails import Trail, make_delivery
from fintech.testing.processes import IN_FULL, Program, answers, free_port, scrape, wait_until

pytestmark = pytest.mark.processes

KILLS = 10 if IN_FULL else 2


@pytest.mark.slow
def test_a_worker_that_is_killed_again_and_again_seals_everything_once(new_trail: Trail, tmp_path):
    port = free_port()
    environment = {
        **new_trail.server.urls(new_trail.name),
        "AUDIT_DIR": str(new_trail.directory),
        "AUDIT_SEAL_SECONDS": "1",
        "AUDIT_VERIFY_SECONDS": "1",
        "WORKER_METRICS_BIND": f"127.0.0.1:{port}",
        "RUNTIME_DIR": str(tmp_path / "runtime"),
    }
    worker = Program([sys.executable, "manage.py", "worker"], log=tmp_path / "worker.log", env=environment)
    try:
        for _ in range(KILLS):
            worker.start()
            seen = count(new_trail, "checkpoint")
            with new_trail.used():
                for _ in range(5):
                    make_delivery(alertmanager_body("Killed"))
            wait_until(partial(has_more_checkpoints, new_trail, seen), 60, "it has sealed")
            time.sleep(random.random())
            worker.kill()
        worker.start()
        wait_until(lambda: sealed_all(new_trail), 60, "every delivery has a leaf")
        good = "SELECT count(*) FROM alerts_audit_verification WHERE findings = '[]' AND tree_size > 0"
        wait_until(lambda: new_trail.query(good) > [(0,)], 60, "it has verified")
        wait_until(lambda: answers(port, "/metrics"), 30, "the worker answers")
        wait_until(lambda: scrape(port).get("audit_last_verification_timestamp_seconds"), 30, "the metric is set")
        wait_until(lambda: scrape(port)["audit_tree_size"] >= 5 * KILLS, 30, "the tree is measured again")
        samples = scrape(port)
    finally:
        worker.kill()

    assert samples["audit_verification_findings"] == 0
    assert "audit_checkpoint" in worker.output()
    assert new_trail.verify().findings == []
    assert os.stat(new_trail.directory / "signing_key").st_mode & 0o077 == 0


def count(trail: Trail, table: str) -> int:
    return int(trail.query(f"SELECT count(*) FROM alerts_audit_{table}")[0][0])


def has_more_checkpoints(trail: Trail, than: int) -> bool:
    return count(trail, "checkpoint") > than


def sealed_all(trail: Trail) -> bool:
    [(leaves,)] = trail.query("SELECT count(DISTINCT ref) FROM alerts_audit_leaf WHERE kind = 'delivery'")
    return bool(leaves == count(trail, "delivery") == 5 * KILLS)
