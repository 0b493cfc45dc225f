"""Refuse a payment that goes on while its challenge (3-D Secure) is open."""

from django.db import migrations

# Checked after the statement, which decides the challenge and the payment together. A payment without a challenge only
# has its old status compared.
GUARD = migrations.RunSQL(
    sql="""
    CREATE FUNCTION payments_refuse_open_challenge() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF EXISTS (SELECT 1 FROM payments_authentication WHERE transaction_id = NEW.id AND outcome IS NULL) THEN
            RAISE EXCEPTION 'a payment whose challenge is open cannot become %', NEW.status
                USING ERRCODE = 'check_violation';
        END IF;
        RETURN NULL;
    END $$;
    CREATE TRIGGER refuse_open_challenge AFTER UPDATE OF status ON payments_transaction FOR EACH ROW
        WHEN (OLD.status = 'requires_action' AND NEW.status <> 'requires_action')
        EXECUTE FUNCTION payments_refuse_open_challenge();
    """,
    reverse_sql="""
    DROP TRIGGER refuse_open_challenge ON payments_transaction;
    DROP FUNCTION payments_refuse_open_challenge();
    """,
)


class Migration(migrations.Migration):
    dependencies = [
        ("payments", "0023_dispute_outcomes"),
    ]

    operations = [GUARD]
