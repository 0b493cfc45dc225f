"""Retention: export a sealed range to a file, so that the remaining rows can still be verified.

files    the file: writing, and reading with every hash
ranges   the range to archive, and the rows of it that stay
archive  the steps, each of which can be repeated after a crash
drop     deletion of rows although triggers refuse it
"""
