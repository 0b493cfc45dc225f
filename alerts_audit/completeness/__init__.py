"""What should have arrived, and did not.

clients.py    asking Alertmanager and Prometheus
observe.py    keeping what they say as evidence
sightings.py  which alerts were seen, from when to when
compare.py    those that fired and never arrived
held_back.py  those that are silenced or inhibited
refusals.py   notifications that failed, and callers refused at our door
heartbeat.py  the alert that always fires
telegram.py   tells people directly, since Prometheus can't report its own death
gaps.py       the only writer of what all of them find
"""
