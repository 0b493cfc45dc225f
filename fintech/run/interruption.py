"""Ctrl-C, and the signals that mean the same: the first one raises KeyboardInterrupt, later ones change nothing.

A signal can arrive where an exception is lost: in a finalizer, or while another error is handled. So the first one is
also remembered, and whatever runs for long calls `check` once a turn.
"""

import signal

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_interrupted = False


def install() -> None:
    """Raise KeyboardInterrupt at the first signal, on the main thread."""
    for number in SIGNALS:
        signal.signal(number, _interrupt)


def check() -> None:
    """Raise KeyboardInterrupt if there was a signal whose exception was lost."""
    if _interrupted:
        raise KeyboardInterrupt


def _interrupt(*_: object) -> None:
    global _interrupted  # noqa: PLW0603 - signals belong to the process
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    _interrupted = True
    raise KeyboardInterrupt
