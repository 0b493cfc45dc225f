"""The two ways in which an event is not applied, and the errors of one that cannot be read."""

import msgspec

# Of the decoder: the last one is of data that is nested too deeply.
UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class NotYet(Exception):
    """The event must wait, for an earlier one or for work in progress. It is tried again after a growing pause."""


class Refused(Exception):
    """The event contradicts our rows. It is kept, logged as an error, and moves nothing."""
