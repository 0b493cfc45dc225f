"""The projection: episodes of alerts, derived only from the numbered inputs, so that it can be rebuilt.

state_machine.py    decide what the next update means for an episode (pure)
decoding.py         decode a delivery's body
observations.py     decode what a poll of Alertmanager returned
rows.py             the inputs that a batch reads, and the rows that it writes
batch.py            apply several inputs together, in memory
store.py            read and write the projection's tables
apply.py            load numbered inputs and apply them
inputs.py           fetch the pending inputs and number them
projector.py        project the pending inputs, in one process at a time
truncation.py       open gaps for alerts that a delivery truncated
transition_log.py   log each transition
replay.py           replay all inputs into temporary tables
archived_hashes.py  hash the rows that outlive their archived inputs
rebuild.py          compare, repair, and carry state into an archive
"""

from alerts_audit.projection.projector import project_pending, tick
from alerts_audit.projection.rebuild import carried_state, diff_rebuild, rebuild
