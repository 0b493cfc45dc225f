"""Silence, measured: hours of ordinary traffic and ordinary disturbances, in which no alert may fire.

`python -m loadtests.quiet --hours 24 --speed 30` runs them and adds the figures to docs/quiet.json and docs/quiet.md.
"""
