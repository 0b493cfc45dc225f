"""Keep the totals of retired hosts apart, so that the rollup stays as small as the hosts that live.

Their sums are those of one writer that no process has, in a retired epoch that no host has. A host that returns takes
its totals back, in the transaction in which it registers itself.
"""

from django.db import migrations, models

GONE = "00000000-0000-0000-0000-000000000000"
GONE_WRITER = f"(SELECT min(id) FROM payments_writer WHERE epoch = '{GONE}')"  # noqa: S608 - our own words
ADD = """
        ON CONFLICT (writer_id, kind, currency) DO UPDATE
            SET count = total.count + excluded.count, amount = total.amount + excluded.amount
"""


class Migration(migrations.Migration):
    dependencies = [
        ("payments", "0029_outcomes_by_function"),
        ("fintech", "0001_metrics_epochs"),
    ]

    operations = [
        migrations.CreateModel(
            name="KpiRetired",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "writer_id", "kind", "currency", blank=True, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("writer_id", models.BigIntegerField()),
                ("kind", models.CharField(max_length=32)),
                ("currency", models.CharField(max_length=3)),
                ("count", models.BigIntegerField()),
                ("amount", models.DecimalField(decimal_places=0, max_digits=30)),
            ],
        ),
        migrations.RunSQL(
            sql=f"""
    INSERT INTO fintech_metricsepoch (epoch, role, holder, url, seen_at, retired_at)
    VALUES ('{GONE}', '', '', '', now(), now()) ON CONFLICT (epoch) DO UPDATE SET retired_at = now();
    INSERT INTO payments_writer (slot, epoch, started_at) SELECT 'gone', '{GONE}', now()
    WHERE NOT EXISTS (SELECT FROM payments_writer WHERE epoch = '{GONE}');

    -- As the owner: the application gets its rights on the new table only after all migrations.
    CREATE FUNCTION payments_take_totals_back() RETURNS trigger LANGUAGE plpgsql
        SECURITY DEFINER SET search_path = public, pg_temp AS $$
    BEGIN
        -- In the order in which the rollup locks them.
        PERFORM 1 FROM payments_kpirollup WHERE writer_id = {GONE_WRITER} ORDER BY kind, currency FOR UPDATE;
        WITH back AS (
            DELETE FROM payments_kpiretired AS total USING payments_writer AS writer
            WHERE writer.id = total.writer_id AND writer.epoch = NEW.epoch
            RETURNING total.writer_id, total.kind, total.currency, total.count, total.amount
        ), less AS (
            UPDATE payments_kpirollup AS gone SET count = gone.count - part.count, amount = gone.amount - part.amount
            FROM (SELECT kind, currency, sum(count) AS count, sum(amount) AS amount FROM back GROUP BY 1, 2) AS part
            WHERE gone.writer_id = {GONE_WRITER} AND gone.kind = part.kind AND gone.currency = part.currency
        )
        INSERT INTO payments_kpirollup AS total (writer_id, kind, currency, count, amount)
        SELECT writer_id, kind, currency, count, amount FROM back
        {ADD};
        RETURN NULL;
    END $$;
    CREATE TRIGGER payments_take_totals_back AFTER UPDATE OF retired_at ON fintech_metricsepoch FOR EACH ROW
        WHEN (OLD.retired_at IS NOT NULL AND NEW.retired_at IS NULL) EXECUTE FUNCTION payments_take_totals_back();
    """,  # noqa: S608 - our own words
            reverse_sql=f"""
    DROP TRIGGER payments_take_totals_back ON fintech_metricsepoch;
    DROP FUNCTION payments_take_totals_back();
    DELETE FROM payments_kpirollup WHERE writer_id = {GONE_WRITER};
    INSERT INTO payments_kpirollup AS total (writer_id, kind, currency, count, amount)
    SELECT writer_id, kind, currency, count, amount FROM payments_kpiretired
    {ADD};
    DELETE FROM fintech_metricsepoch WHERE epoch = '{GONE}';
    """,  # noqa: S608 - our own words
        ),
    ]
