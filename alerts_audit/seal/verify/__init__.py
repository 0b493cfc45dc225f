"""`verify()`: bytes -> hash -> leaf -> root -> signature -> the checkpoints outside; and a replay of the projection.

report       covered range and findings
checkpoints  signatures; the table against the file outside
leaves       rows and bodies against leaves, leaves against roots
rows         rows without a leaf
run          the whole verification
job          the schedule of the worker
"""

from alerts_audit.seal.verify.report import Finding, Report
from alerts_audit.seal.verify.run import verify
