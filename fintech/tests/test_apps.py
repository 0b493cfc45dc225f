import gc

from django.apps import apps


def test_garbage_is_collected_once_django_is_loaded():
    gc.disable()

    apps.get_app_config("fintech").ready()
    gc.unfreeze()  # as in conftest.py

    assert gc.isenabled()
