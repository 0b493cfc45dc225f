"""Retention: move the events, legs and webhooks of old payments into files, so that the books still balance.

selection.py  the payments at rest, each with all that belongs to it, as one line
files.py      the file: its end states counts and sums; writing, and reading with every check
archive.py    the steps, each of which can be repeated after a crash
drop.py       deletion of what a file has, and the totals that the books carry forward

The payments themselves stay, with their captures, voids, refunds, disputes, reviews and idempotency keys.
"""
