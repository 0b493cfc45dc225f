"""Several projectors at once, and projectors that die at any moment."""

import os
import random
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from django.db import connections

from alerts_audit.models import Envelope, Input, Pending
from alerts_audit.tests.projection.trail import Trail, urls
from alerts_audit.tests.seal.trails import on_database
from fintech.testing.databases import migrated_server
from fintech.testing.processes import IN_FULL, Program, wait_until

pytestmark = pytest.mark.processes

# Projects almost without a pause, as several processes of the platform may.
PROJECTOR = """
import time, django
django.setup()
from alerts_audit.projection import project_pending, tick
print("ready", flush=True)
while True:
    project_pending()
    tick()
    time.sleep(0.002)
"""


@contextmanager
def projecting(trail: Trail, log: Path) -> Iterator[Program]:
    """A process that projects what comes, killed at the end."""
    program = Program([sys.executable, "-c", PROJECTOR], env={**os.environ, **urls(trail.database)}, log=log)
    try:
        program.start(ready=lambda: "ready" in program.output())
        yield program
    finally:
        program.kill()


@pytest.fixture
def story(lone_trail: Trail) -> Iterator[Trail]:
    yield lone_trail
    assert lone_trail.inputs_are_dense()
    assert lone_trail.differences() == []


def deliver_story(trail: Trail, minutes: int) -> None:
    """Report two alerts that begin and end repeatedly, by both peers, with an invalid body in between."""
    for minute in range(minutes):
        peer = "ab"[minute % 2]
        alerts = [
            trail.alert(since=minute - minute % 4, labels={"alertname": trail.alertname, "instance": str(number)})
            for number in range(minute % 7)
        ]
        trail.deliver(trail.document(*alerts), minute, peer)
        if minute % 10 == 0:
            trail.deliver(b"{", minute, peer)
        if minute % 15 == 0:
            trail.sees(minute, peer, known=True)


def everything_is_projected() -> bool:
    return not Pending.objects.exists()


def test_several_projectors_use_each_input_once(story, tmp_path):
    with ExitStack() as stack:
        for number in range(3):
            stack.enter_context(projecting(story, tmp_path / f"{number}.log"))
        deliver_story(story, 300)
        wait_until(everything_is_projected, what="nothing is pending", timeout=60)

    assert Input.objects.count() >= 350
    assert Envelope.objects.count() == Input.objects.filter(kind="delivery").count()


@pytest.mark.slow
def test_projectors_that_are_killed_leave_nothing_out_and_use_nothing_twice(story, tmp_path):
    chance = random.Random(7)
    stories = 0
    for turn in range(25 if IN_FULL else 5):
        with projecting(story, tmp_path / f"{turn}.log"):
            deliver_story(story, 40)
            time.sleep(chance.uniform(0, 0.2))  # the moment of death is what varies here
        stories += 1
    story.project()

    assert everything_is_projected()
    assert Envelope.objects.count() == Input.objects.filter(kind="delivery").count() == stories * 44


def test_a_power_cut_takes_back_no_delivery(open_tmp, tmp_path, django_db_blocker):
    server = migrated_server(open_tmp, {})
    server.start()
    try:
        with django_db_blocker.unblock(), on_database(server.urls("fintech"), tmp_path):
            story = Trail("fintech")
            story.add_sources()
            for _ in range(3):
                deliver_story(story, 20)
                story.project()
                story.projector.disconnect()
                server.stop("immediate")  # as after a power cut: only what is in the log on disk comes back
                server.start()
                connections.close_all()
            story.project()

            assert Envelope.objects.count() == Input.objects.filter(kind="delivery").count() == 3 * 22
            assert story.inputs_are_dense()
            assert story.differences() == []
            story.projector.disconnect()
    finally:
        server.stop("immediate")
