"""The two ways in which an event is not applied."""


class NotYet(Exception):
    """The event must wait, for an earlier one or for work in progress. It is tried again after a growing pause."""


class Refused(Exception):
    """The event contradicts our rows. It is kept, logged as an error, and moves nothing."""
