"""What should have arrived, and did not.

observe.py    asks Alertmanager and Prometheus, and keeps what they say as evidence
compare.py    finds the alerts that fired and never arrived, and those that were held back
refusals.py   notifications that failed, and callers refused at our door
heartbeat.py  the alert that always fires
telegram.py   tells people directly, since Prometheus can't report its own death
gaps.py       the only writer of what all of them find
"""
