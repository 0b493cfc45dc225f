"""A signal ends a long run, also if it arrives where its exception is lost."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.processes

PROGRAM = """
import os, signal, sys
from fintech.run import interruption

class Finalized:
    def __del__(self):
        os.kill(os.getpid(), signal.{number})

interruption.install()
interruption.check()
Finalized()
print("the exception was lost")
try:
    interruption.check()
except KeyboardInterrupt:
    os.kill(os.getpid(), signal.SIGINT)
    print("and comes again, once")
"""


def run(number: str) -> str:
    command = [sys.executable, "-c", PROGRAM.format(number=number)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout


def test_a_signal_whose_exception_is_lost_ends_the_run_at_the_next_check():
    assert run("SIGINT") == run("SIGTERM") == "the exception was lost\nand comes again, once\n"
