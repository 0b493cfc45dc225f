"""Allow and block lists, and a record of each change of fraud settings and lists, made by the database itself."""

import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models

from fintech.database.append_only import append_only

# `payments.fraud.settings.recorded_by` names the actor for its transaction. A change of another origin has the role.
RECORD = migrations.RunSQL(
    sql="""
    CREATE FUNCTION payments_fraud_actor() RETURNS text LANGUAGE sql STABLE AS $$
        SELECT coalesce(nullif(current_setting('payments.actor', true), ''), 'database:' || session_user)
    $$;
    CREATE FUNCTION payments_record_fraud_settings() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO payments_fraudchange (merchant_id, actor, subject, before, after)
        SELECT NEW.id, payments_fraud_actor(), setting, to_jsonb(OLD) -> setting, to_jsonb(NEW) -> setting
        FROM unnest(ARRAY['country', 'fraud_threshold', 'fraud_weights', 'unscored_limit_minor']) AS setting
        WHERE to_jsonb(OLD) -> setting <> to_jsonb(NEW) -> setting;
        RETURN NULL;
    END $$;
    CREATE FUNCTION payments_record_fraud_entry() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE
        entry payments_fraudlistentry := CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END;
        content jsonb := jsonb_build_object('field', entry.field, 'value', entry.value, 'note', entry.note);
    BEGIN
        INSERT INTO payments_fraudchange (merchant_id, actor, subject, before, after) VALUES (
            entry.merchant_id, payments_fraud_actor(), entry.list || '_list',
            CASE TG_OP WHEN 'DELETE' THEN content END, CASE TG_OP WHEN 'INSERT' THEN content END);
        RETURN NULL;
    END $$;
    CREATE TRIGGER record_fraud_settings AFTER UPDATE ON payments_merchant
        FOR EACH ROW EXECUTE FUNCTION payments_record_fraud_settings();
    CREATE TRIGGER record_fraud_entry AFTER INSERT OR DELETE ON payments_fraudlistentry
        FOR EACH ROW EXECUTE FUNCTION payments_record_fraud_entry();
    CREATE TRIGGER refuse_change BEFORE UPDATE OR TRUNCATE ON payments_fraudlistentry
        FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
    """,
    reverse_sql="""
    DROP TRIGGER refuse_change ON payments_fraudlistentry;
    DROP TRIGGER record_fraud_entry ON payments_fraudlistentry;
    DROP TRIGGER record_fraud_settings ON payments_merchant;
    DROP FUNCTION payments_record_fraud_entry();
    DROP FUNCTION payments_record_fraud_settings();
    DROP FUNCTION payments_fraud_actor();
    """,
)


class Migration(migrations.Migration):
    dependencies = [
        ("payments", "0012_operation_permissions"),
    ]

    operations = [
        migrations.CreateModel(
            name="FraudChange",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("actor", models.TextField()),
                ("subject", models.TextField()),
                ("before", models.JSONField(null=True)),
                ("after", models.JSONField(null=True)),
                (
                    "merchant",
                    models.ForeignKey(
                        db_index=False, on_delete=django.db.models.deletion.PROTECT, to="payments.merchant"
                    ),
                ),
            ],
            options={
                "ordering": ["-id"],
                "indexes": [models.Index(fields=["merchant", "-id"], name="fraud_change_merchant_newest")],
            },
        ),
        migrations.CreateModel(
            name="FraudListEntry",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("list", models.CharField(choices=[("block", "Block list"), ("allow", "Allow list")], max_length=5)),
                (
                    "field",
                    models.CharField(
                        choices=[("customer", "Customer"), ("token", "Payment token"), ("country", "Card country")],
                        max_length=8,
                    ),
                ),
                (
                    "value",
                    models.CharField(
                        help_text="Exactly as payments have it. A country is two letters, as DE.", max_length=255
                    ),
                ),
                (
                    "note",
                    models.CharField(blank=True, default="", help_text="The reason for this entry.", max_length=255),
                ),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                (
                    "merchant",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="fraud_entries",
                        to="payments.merchant",
                    ),
                ),
            ],
            options={
                "verbose_name_plural": "fraud list entries",
                "ordering": ["-id"],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("merchant", "field", "value"),
                        name="fraud_entry_once",
                        violation_error_message="This value is on a list of this merchant already.",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("list__in", ["block", "allow"])), name="fraud_entry_list_known"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("field__in", ["customer", "token"]), models.Q(("value", ""), _negated=True)),
                            models.Q(("field", "country"), ("value__regex", "^[A-Z]{2}$")),
                            _connector="OR",
                        ),
                        name="fraud_entry_value_possible",
                        violation_error_message="A country is two letters of ISO 3166, such as DE.",
                    ),
                ],
            },
        ),
        append_only("payments_fraudchange"),
        RECORD,
    ]
