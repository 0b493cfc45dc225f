"""`verify()`: bytes -> hash -> leaf -> root -> signature -> the checkpoints outside; and a replay of the projection.

report.py       covered range and findings
checkpoints.py  signatures; the table against the file outside
leaves.py       rows and bodies against leaves, leaves against roots
rows.py         rows without a leaf
archives.py     archived rows: their files and the checkpoints that name them
guards.py       the triggers and rights that protect the evidence
run.py          the whole verification
job.py          the schedule of the worker
"""

from alerts_audit.seal.verify.report import Finding, Report
from alerts_audit.seal.verify.run import verify
