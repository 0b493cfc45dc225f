"""Completeness: find the alerts that should have arrived and did not.

alertmanager.py       query Alertmanager
prometheus.py         query Prometheus
http.py               their requests, bounded in time and size
side_by_side.py       poll sources beside each other: one that hangs delays no other
observe.py            store their answers as evidence
sightings.py          derive which alerts fired, from when to when
compare.py            compare what fired with what arrived, turn by turn
relabelling.py        apply Prometheus's relabelling to the labels of alerts
arrivals.py           find the alerts that never arrived, and open and close their gaps
suppressions.py       record alerts that are silenced or inhibited
delivery_failures.py  find failed notifications and refused callers
heartbeat.py          watch the alert that always fires
telegram.py           notify people directly: Prometheus cannot report its own death

All of them record their findings through `alerts_audit.gaps`.
"""
