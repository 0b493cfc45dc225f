"""The application's role has the rights that each app declares, and only INSERT and SELECT on evidence."""

import pytest
from django.apps import apps
from django.db import ProgrammingError, connection, connections
from django.db.models import Model
from django.db.transaction import atomic

from fintech.database.grants import grant_application_role, privileges

ALL = {"SELECT", "INSERT", "UPDATE", "DELETE"}
NEVER = ("TRUNCATE", "REFERENCES", "TRIGGER")
MODELS = [model for model in apps.get_models(include_auto_created=True) if model._meta.managed]
EVIDENCE = [
    "payments_event",
    "payments_fraudchange",
    "payments_gatewayroutechange",
    "payments_ledgerleg",
    "payments_writer",
    "payments_idempotencykey",
    "payments_webhookevent",
    "payments_webhookattempt",
    "alerts_audit_delivery",
]
KEPT = [
    "payments_merchant",
    "payments_apikey",
    "payments_transaction",
    "payments_refund",
    "payments_webhookendpoint",
    "payments_webhooksecret",
    "payments_webhookdelivery",
]


def granted(table: str) -> set[str]:
    with connection.cursor() as cursor:
        asked = {}
        for privilege in (*ALL, *NEVER):
            cursor.execute("SELECT has_table_privilege(current_user, %s, %s)", [table, privilege])
            asked[privilege] = cursor.fetchone()[0]
    return {privilege for privilege, is_granted in asked.items() if is_granted}


def test_the_tests_run_as_the_application_and_not_as_the_owner():
    with connection.cursor() as cursor:
        cursor.execute("SELECT rolname, rolsuper OR rolcreaterole FROM pg_roles WHERE rolname = current_user")
        assert cursor.fetchone() == ("app", False)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model._meta.label)
def test_each_table_has_the_grants_that_its_app_declares(model: type[Model]):
    config = apps.get_app_config(model._meta.app_label)
    declared = {word.strip() for word in privileges(model._meta.model_name or "", config).split(",")}

    assert granted(model._meta.db_table) == declared


@pytest.mark.parametrize("table", EVIDENCE)
def test_evidence_can_be_added_to_and_read(table):
    assert granted(table) == {"SELECT", "INSERT"}


@pytest.mark.parametrize("table", KEPT)
def test_protected_rows_cannot_be_deleted(table):
    assert granted(table) == ALL - {"DELETE"}


def test_every_name_that_an_app_declares_is_one_of_its_models():
    for config in apps.get_app_configs():
        lists = ("evidence_models", "kept_models", "owners_models")
        declared = {name for names in lists for name in getattr(config, names, ())}
        assert declared <= {model._meta.model_name for model in config.get_models()}


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE payments_event SET kind = 'succeeded'",
        "DELETE FROM payments_ledgerleg",
        "TRUNCATE payments_event",
        "DELETE FROM payments_transaction",
        "TRUNCATE payments_transaction",
        "DELETE FROM payments_idempotencykey",
        "UPDATE payments_archivedtotal SET amount = 0",
        "INSERT INTO payments_archivedpart (archive_id) VALUES (1)",
        "UPDATE alerts_audit_delivery SET source = 'x'",
        "ALTER TABLE payments_event DISABLE TRIGGER ALL",
        "DROP TRIGGER append_only ON payments_event",
        "DROP TABLE payments_event",
        "CREATE TABLE public.mine (id int)",
        "CREATE FUNCTION public.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
        "SET session_replication_role = replica",
        "SET ROLE owner",
        "ALTER ROLE app SUPERUSER",
        "INSERT INTO django_migrations (app, name, applied) VALUES ('payments', '0099', now())",
    ],
)
def test_the_application_may_not(statement):
    refused = pytest.raises(ProgrammingError, match=r"permission denied|must be owner")
    with refused, atomic(), connection.cursor() as cursor:
        cursor.execute(statement)


def test_granting_again_changes_nothing():
    before = {model._meta.db_table: granted(model._meta.db_table) for model in MODELS}

    grant_application_role(using="owner")

    assert {table: granted(table) for table in before} == before


def test_a_grant_too_many_is_taken_back():
    with connections["owner"].cursor() as cursor:
        cursor.execute("GRANT DELETE ON payments_event TO app")
    assert "DELETE" in granted("payments_event")

    grant_application_role(using="owner")

    assert granted("payments_event") == {"SELECT", "INSERT"}


def test_the_owner_grants_nothing_to_itself(monkeypatch):
    monkeypatch.setitem(connections["default"].settings_dict, "USER", "owner")

    grant_application_role(using="owner")
