import gc
import subprocess
import sys

import pytest
from django.apps import apps

from fintech.testing.processes import BASE_DIR


def test_garbage_is_collected_once_django_is_loaded():
    gc.disable()

    apps.get_app_config("fintech").ready()
    gc.unfreeze()  # as in conftest.py

    assert gc.isenabled()


LOADED = """
import sys
import django
django.setup()
from django.core import checks
print("payments.admin" in sys.modules)
checks.run_checks(tags=[checks.Tags.admin])
print("payments.admin" in sys.modules)
"""


@pytest.mark.processes
def test_the_admins_pages_are_loaded_for_the_web_and_the_checks_only():
    """They and what they import are a third of the start of the worker, and of each command."""
    done = subprocess.run([sys.executable, "-c", LOADED], cwd=BASE_DIR, capture_output=True, text=True, check=True)

    assert done.stdout.split() == ["False", "True"]
