"""Only listed variables of the caller reach our programs."""

import pytest

from fintech.run.environment import PIP, SETTINGS, drop_unknown
from fintech.tests.test_settings_documented import names_in_document


@pytest.mark.parametrize(
    "name",
    ["PGHOST", "GUNICORN_CMD_ARGS", "LOCUST_HOST", "PYTHONPATH", "PIP_USER", "API_KEY", "API_KEY_FILE", "TOKEN_FILE"],
)
def test_a_variable_of_another_program_is_dropped(name):
    environ = {name: "x", "PATH": "/bin"}

    assert drop_unknown(environ) == [name]
    assert environ == {"PATH": "/bin"}


@pytest.mark.parametrize("name", ["DATABASE_URL", "DATABASE_URL_FILE", "AUDIT_SIGNING_KEY_FILE", "NO_LOAD", "HOME"])
def test_a_setting_and_a_variable_of_the_system_are_kept(name):
    environ = {name: "x"}

    assert drop_unknown(environ) == []
    assert environ == {name: "x"}


def test_an_empty_setting_is_not_set():
    environ = {"DATABASE_URL": "", "AUDIT_SIGNING_KEY_FILE": "", "PATH": "/bin"}

    assert drop_unknown(environ) == ["AUDIT_SIGNING_KEY_FILE", "DATABASE_URL"]
    assert environ == {"PATH": "/bin"}


def test_an_entry_may_accept_more():
    environ = {"PIP_INDEX_URL": "https://packages.example", "PIP_USER": "yes"}

    assert drop_unknown(environ, also=PIP) == ["PIP_USER"]


def test_every_documented_setting_is_accepted_except_those_of_single_containers():
    elsewhere = {"API_KEY", "COMPOSE_PROFILES", "DATABASE_ADMIN_URL", "DATABASE_MONITOR_URL"}

    assert names_in_document() - elsewhere == SETTINGS
