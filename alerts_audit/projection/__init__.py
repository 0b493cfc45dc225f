"""What the deliveries mean: episodes of alerts, made from the numbered inputs alone, so that they can be made again.

machine.py       what the next word means for an episode (pure)
reading.py       a delivery's body
observations.py  what Alertmanager was seen to know
batch.py         some inputs taken together, in memory
tables.py        reading and writing the projection's tables
using.py         inputs that have their numbers: load, decide
projector.py     numbering what is pending and projecting it
gaps.py          what a delivery says that it left out
telling.py       the log
prompt.py        at once, in the web's processes
replay.py        all inputs again, in temporary tables
left.py          what archives leave here without its inputs
rebuild.py       what differs, mending it, what an archive carries over
"""

from alerts_audit.projection.projector import project_pending, tick
from alerts_audit.projection.rebuild import carried_state, diff_rebuild, rebuild

__all__ = ["carried_state", "diff_rebuild", "project_pending", "rebuild", "tick"]
