"""Retention: a sealed range goes into a file, and what is left still proves itself.

files    the file: written, and read again with every hash
ranges   which range may go, and which of its rows must stay
archive  the steps, each of which may be repeated after a crash
drop     taking rows away although triggers refuse it
"""
