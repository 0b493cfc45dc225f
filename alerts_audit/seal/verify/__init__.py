"""`verify()`: bytes -> hash -> leaf -> root -> signature -> the checkpoints outside; and the projection, replayed.

report       what was covered, what is wrong
checkpoints  signatures; the table against the file outside
leaves       rows and bodies against leaves, leaves against roots
rows         rows that have no leaf
run          all of it
job          what the worker verifies when
"""

from alerts_audit.seal.verify.report import Finding, Report
from alerts_audit.seal.verify.run import verify

__all__ = ["Finding", "Report", "verify"]
