"""Drills hold the locks of the alert trail, whose numbers they cannot import."""

from alerts_audit.projection import projector
from alerts_audit.seal import sealer
from alerts_audit.seal.verify import run
from loadtests.drill.injectors import database


def test_the_drills_know_the_locks_of_projector_sealer_and_verifier():
    assert database.PROJECTOR == projector.LOCK
    assert database.SEALER == sealer.SEAL_LOCK
    assert database.VERIFIER == run.AUDIT_LOCK
