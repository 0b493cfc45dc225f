"""Check the references of the journal and the ledger once per statement instead of once per row.

A foreign key runs a query for each new row, and locks the row that it refers to: five of them cost a payment more than
its own inserts. The referenced rows cannot be deleted and their ids cannot change (0002), so checking new rows is
enough.
"""

import django.db.models.deletion
from django.db import migrations, models

# Without `enable_seqscan = off` a plan from the time when the tables were small would be kept. A scalar subquery is
# never planned as a join of the whole tables.
REFERENCES = migrations.RunSQL(
    sql="""
    CREATE FUNCTION payments_refuse_unknown_transaction() RETURNS trigger LANGUAGE plpgsql
        SET enable_seqscan = off AS $$
    DECLARE wrong record;
    BEGIN
        SELECT added.* INTO wrong FROM added WHERE (
            SELECT payment.id FROM payments_transaction AS payment WHERE payment.id = added.transaction_id) IS NULL
        LIMIT 1;
        IF FOUND THEN
            RAISE EXCEPTION 'event % refers to transaction %, which does not exist', wrong.id, wrong.transaction_id
                USING ERRCODE = 'foreign_key_violation';
        END IF;
        RETURN NULL;
    END $$;
    CREATE TRIGGER refuse_unknown_transaction AFTER INSERT ON payments_event REFERENCING NEW TABLE AS added
        FOR EACH STATEMENT EXECUTE FUNCTION payments_refuse_unknown_transaction();

    CREATE FUNCTION payments_refuse_unknown_event() RETURNS trigger LANGUAGE plpgsql
        SET enable_seqscan = off AS $$
    DECLARE wrong record;
    BEGIN
        SELECT added.* INTO wrong FROM added WHERE (
            SELECT event.transaction_id FROM payments_event AS event WHERE event.id = added.event_id)
            IS DISTINCT FROM added.transaction_id
        LIMIT 1;
        IF FOUND THEN
            RAISE EXCEPTION 'transaction % of a leg has no event %', wrong.transaction_id, wrong.event_id
                USING ERRCODE = 'foreign_key_violation';
        END IF;
        RETURN NULL;
    END $$;
    CREATE TRIGGER refuse_unknown_event AFTER INSERT ON payments_ledgerleg REFERENCING NEW TABLE AS added
        FOR EACH STATEMENT EXECUTE FUNCTION payments_refuse_unknown_event();
    """,
    reverse_sql="""
    DROP TRIGGER refuse_unknown_event ON payments_ledgerleg;
    DROP FUNCTION payments_refuse_unknown_event();
    DROP TRIGGER refuse_unknown_transaction ON payments_event;
    DROP FUNCTION payments_refuse_unknown_transaction();
    """,
)


class Migration(migrations.Migration):
    dependencies = [("payments", "0006_transitions")]

    operations = [
        REFERENCES,
        migrations.AlterField(
            model_name="event",
            name="transaction",
            field=models.ForeignKey(
                db_constraint=False,
                db_index=False,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="events",
                to="payments.transaction",
            ),
        ),
        migrations.AlterField(
            model_name="ledgerleg",
            name="event",
            field=models.ForeignKey(
                db_constraint=False,
                db_index=False,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="legs",
                to="payments.event",
            ),
        ),
    ]
