"""Require the terms of every payment, and refuse a change of them."""

from django.db import migrations, models
from django.db.models import F, Q

# Beside what 0002 protects: the terms are part of the request.
PROTECT_TERMS = migrations.RunSQL(
    sql="""
    CREATE TRIGGER refuse_new_terms BEFORE UPDATE ON payments_transaction FOR EACH ROW
        WHEN ((NEW.fee_basis_points, NEW.gateway, NEW.gateway_key)
            IS DISTINCT FROM (OLD.fee_basis_points, OLD.gateway, OLD.gateway_key))
        EXECUTE FUNCTION payments_refuse_rewriting('transaction');
    CREATE TRIGGER refuse_new_terms BEFORE UPDATE ON payments_refund FOR EACH ROW
        WHEN (NEW.gateway_key IS DISTINCT FROM OLD.gateway_key)
        EXECUTE FUNCTION payments_refuse_rewriting('refund');
    """,
    reverse_sql="""
    DROP TRIGGER refuse_new_terms ON payments_refund;
    DROP TRIGGER refuse_new_terms ON payments_transaction;
    """,
)


class Migration(migrations.Migration):
    dependencies = [("payments", "0004_fill_charge_terms")]

    operations = [
        migrations.AlterField(
            model_name="transaction", name="fee_basis_points", field=models.PositiveSmallIntegerField()
        ),
        migrations.AlterField(model_name="transaction", name="gateway_key", field=models.UUIDField()),
        migrations.AlterField(model_name="refund", name="gateway_key", field=models.UUIDField()),
        migrations.AddConstraint(
            model_name="transaction",
            constraint=models.CheckConstraint(
                condition=Q(fee_basis_points__lte=10_000), name="transaction_fee_rate_at_most_the_amount"
            ),
        ),
        migrations.AddConstraint(
            model_name="transaction",
            constraint=models.CheckConstraint(
                condition=Q(status="succeeded", fee=(F("amount") * F("fee_basis_points") + 5_000) / 10_000)
                | ~Q(status="succeeded") & Q(fee=0),
                name="transaction_fee_follows_from_rate",
            ),
        ),
        PROTECT_TERMS,
    ]
