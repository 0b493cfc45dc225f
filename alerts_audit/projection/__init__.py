"""What the deliveries mean: episodes of alerts, made from the numbered inputs alone, so that they can be made again.

machine.py      what the next word means for an episode (pure)
reading.py      a delivery's body
batch.py        some inputs taken together, in memory
tables.py       reading and writing the projection's tables
projector.py    numbering what is pending and projecting it
gaps.py         what a delivery says that it left out
telling.py      the log
prompt.py       at once, in the web's processes
rebuild.py      all of it again, and what differs
"""

from alerts_audit.projection.projector import projector

project_pending = projector.project_pending
tick = projector.tick

__all__ = ["project_pending", "tick"]
