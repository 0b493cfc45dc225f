"""Drills: make a fault, follow its alert from Prometheus to the trail, and write down how long each step took.

`python -m loadtests.drill list | FAULT... | all` runs them. faults.py lists every fault, and injectors/ begins and ends
them.
"""


class NotPossible(Exception):
    """This machine cannot suffer the fault; the message is the reason."""
