#!/usr/bin/env python
"""Django's command line."""

import gc
import io
import os
import sys
from contextlib import suppress
from typing import Any, NoReturn


def main() -> None:
    gc.disable()  # while Django is loaded: see fintech/apps.py
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "fintech.settings")
    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import execute_from_command_line

    from fintech.errors import DATABASE_ERRORS

    if any("\udc80" <= letter <= "\udcff" for word in sys.argv for letter in word):  # how Python keeps other bytes
        refuse("An argument is not UTF-8.")
    try:
        try:
            execute_from_command_line(sys.argv)
        finally:
            sys.stdout.flush()
    except ImproperlyConfigured as error:
        sys.exit(f"error: {error}")
    except DATABASE_ERRORS as error:
        refuse(f"The database refuses or does not answer: {error}")
    except EOFError:
        refuse("The command asks a question, and there is no terminal to answer it.")
    except KeyboardInterrupt:
        sys.exit(130)
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python fails again at its end
        if isinstance(error, BrokenPipeError):  # the reader, such as `head`, has seen enough
            sys.exit(141)
        refuse(str(error))


class Unfailing(io.FileIO):
    """A file that drops what cannot be written, such as without a reader or on a full disk."""

    def write(self, data: Any, /) -> int:
        with suppress(OSError):
            return super().write(data) or len(data)
        return len(data)


def prepare_streams() -> None:
    """Open what the caller closed (`>&-`), for which Python has no stream: the next file would get its number.

    Progress that cannot be written must not end work that changes data, nor a refusal change the exit code.
    """
    if sys.stderr is not None:
        raw = io.BufferedWriter(Unfailing(sys.stderr.fileno(), "w", closefd=False))
        sys.stderr = io.TextIOWrapper(raw, sys.stderr.encoding, sys.stderr.errors, line_buffering=True)
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "r" if name == "stdin" else "w"))  # noqa: SIM115 - until the end


def refuse(reason: str) -> NoReturn:
    sys.stderr.write(f"error: {reason.strip()}\n")
    sys.exit(2)


if __name__ == "__main__":
    prepare_streams()
    main()
