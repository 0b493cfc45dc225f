"""Fix a payment's terms when it is created: fee rate, gateway, and the key that the gateway knows it by.

The columns are added here, empty and at once; 0004 fills old rows in batches, 0005 makes the columns required.
"""

import django.contrib.postgres.functions
from django.db import migrations, models

# During a deployment the previous release still inserts rows without these columns. It reads the rate from the
# merchant and uses the row's id as the gateway's key, so that is what its rows get.
FILL_ROWS_OF_THE_PREVIOUS_RELEASE = migrations.RunSQL(
    sql="""
    CREATE FUNCTION payments_fill_terms() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        NEW.gateway_key := coalesce(NEW.gateway_key, NEW.id);
        NEW.fee_basis_points := coalesce(NEW.fee_basis_points,
            (SELECT fee_basis_points FROM payments_merchant WHERE id = NEW.merchant_id));
        RETURN NEW;
    END $$;
    CREATE FUNCTION payments_fill_gateway_key() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        NEW.gateway_key := NEW.id;
        RETURN NEW;
    END $$;
    CREATE TRIGGER fill_terms BEFORE INSERT ON payments_transaction FOR EACH ROW
        WHEN (NEW.gateway_key IS NULL OR NEW.fee_basis_points IS NULL) EXECUTE FUNCTION payments_fill_terms();
    CREATE TRIGGER fill_gateway_key BEFORE INSERT ON payments_refund FOR EACH ROW
        WHEN (NEW.gateway_key IS NULL) EXECUTE FUNCTION payments_fill_gateway_key();
    """,
    reverse_sql="""
    DROP TRIGGER fill_gateway_key ON payments_refund;
    DROP TRIGGER fill_terms ON payments_transaction;
    DROP FUNCTION payments_fill_gateway_key();
    DROP FUNCTION payments_fill_terms();
    """,
)


class Migration(migrations.Migration):
    dependencies = [("payments", "0002_guards")]

    operations = [
        migrations.AlterField(
            model_name="merchant",
            name="fee_basis_points",
            field=models.PositiveIntegerField(
                default=150,
                help_text="Our fee in hundredths of a percent of the amount: 150 is 1.5 %. Applies to new payments.",
            ),
        ),
        migrations.AddField(
            model_name="merchant",
            name="gateway_namespace",
            field=models.UUIDField(db_default=django.contrib.postgres.functions.RandomUUID(), editable=False),
        ),
        migrations.AddField(
            model_name="transaction", name="fee_basis_points", field=models.PositiveSmallIntegerField(null=True)
        ),
        migrations.AddField(model_name="transaction", name="gateway", field=models.TextField(db_default="simulator")),
        migrations.AddField(model_name="transaction", name="gateway_key", field=models.UUIDField(null=True)),
        migrations.AddField(model_name="refund", name="gateway_key", field=models.UUIDField(null=True)),
        FILL_ROWS_OF_THE_PREVIOUS_RELEASE,
    ]
