#!/usr/bin/env python
"""Django's command line."""

import gc
import os
import sys


def main() -> None:
    gc.disable()  # while Django is loaded: see fintech/apps.py
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "fintech.settings")
    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import execute_from_command_line

    try:
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
