"""Refuse every step between states that `payments/states.py` does not list, and name each open operation."""

from django.db import migrations, models
from django.db.models import Case, Q, Value, When

# A final outcome never changes. Before, `processing` and `unknown` could become any other state.
OUTCOME = {
    "transaction": ("status", "fee", "failure_code", "gateway_reference", "settled_at"),
    "refund": ("status", "failure_code", "gateway_reference", "settled_at"),
}
STEPS = {
    "transaction": """
        ('processing', 'succeeded'), ('processing', 'declined'), ('processing', 'failed'), ('processing', 'unknown'),
        ('unknown', 'succeeded'), ('unknown', 'declined'), ('unknown', 'failed')""",
    "refund": """
        ('processing', 'succeeded'), ('processing', 'failed'), ('processing', 'unknown'),
        ('unknown', 'succeeded'), ('unknown', 'failed')""",
}
BEFORE = "OLD.status = 'unknown' AND NEW.status = 'processing'"


def guard(table: str, refused_step: str) -> str:
    old, new = (", ".join(f"{row}.{column}" for column in OUTCOME[table]) for row in ("OLD", "NEW"))
    return f"""
    CREATE OR REPLACE TRIGGER refuse_outcome BEFORE UPDATE ON payments_{table} FOR EACH ROW
        WHEN (OLD.status NOT IN ('processing', 'unknown') AND ({new}) IS DISTINCT FROM ({old}) OR {refused_step})
        EXECUTE FUNCTION payments_refuse_outcome('{table}');
    """


class Migration(migrations.Migration):
    dependencies = [("payments", "0005_require_charge_terms")]

    operations = [
        *(
            migrations.RunSQL(
                sql=guard(
                    table, f"OLD.status <> NEW.status AND (OLD.status::text, NEW.status::text) NOT IN ({STEPS[table]})"
                ),
                reverse_sql=guard(table, BEFORE),
            )
            for table in STEPS
        ),
        migrations.AddField(
            model_name="unresolved",
            name="operation",
            field=models.GeneratedField(
                expression=Case(When(Q(refund_id=None), then=Value("charge")), default=Value("refund")),
                output_field=models.CharField(max_length=16),
                db_persist=True,
            ),
        ),
    ]
