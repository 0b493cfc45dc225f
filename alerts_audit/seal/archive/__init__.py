"""Retention: export a sealed range to a file, so that the remaining rows can still be verified.

files.py    the file: writing, and reading with every hash
ranges.py   the range to archive, and the rows of it that stay
archive.py  the steps, each of which can be repeated after a crash
drop.py     deletion of rows although triggers refuse it
"""
