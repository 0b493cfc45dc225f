"""Routes to gateways as rows, and a record of each change, made by the database itself."""

import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models

from fintech.database.append_only import append_only

# `payments.fraud.settings.recorded_by` names the actor for its transaction. A change of another origin has the role.
RECORD = migrations.RunSQL(
    sql="""
    CREATE FUNCTION payments_record_gateway_route() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO payments_gatewayroutechange (route_id, actor, before, after) VALUES (
            CASE TG_OP WHEN 'DELETE' THEN OLD.id ELSE NEW.id END, payments_fraud_actor(),
            CASE TG_OP WHEN 'INSERT' THEN NULL ELSE to_jsonb(OLD) - '{id,created_at}'::text[] END,
            CASE TG_OP WHEN 'DELETE' THEN NULL ELSE to_jsonb(NEW) - '{id,created_at}'::text[] END);
        RETURN NULL;
    END $$;
    CREATE TRIGGER record_gateway_route AFTER INSERT OR UPDATE OR DELETE ON payments_gatewayroute
        FOR EACH ROW EXECUTE FUNCTION payments_record_gateway_route();
    CREATE TRIGGER refuse_truncate BEFORE TRUNCATE ON payments_gatewayroute
        FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
    """,
    reverse_sql="""
    DROP TRIGGER refuse_truncate ON payments_gatewayroute;
    DROP TRIGGER record_gateway_route ON payments_gatewayroute;
    DROP FUNCTION payments_record_gateway_route();
    """,
)


class Migration(migrations.Migration):
    dependencies = [
        ("payments", "0026_archives"),
    ]

    operations = [
        migrations.CreateModel(
            name="GatewayRouteChange",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("route_id", models.BigIntegerField()),
                ("at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("actor", models.TextField()),
                ("before", models.JSONField(null=True)),
                ("after", models.JSONField(null=True)),
            ],
            options={
                "ordering": ["-id"],
            },
        ),
        migrations.CreateModel(
            name="GatewayRoute",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "currency",
                    models.CharField(blank=True, help_text="Such as EUR. Empty: all others.", max_length=3, null=True),
                ),
                ("gateway", models.CharField(help_text="It is asked first.", max_length=64)),
                (
                    "fallback",
                    models.CharField(
                        blank=True,
                        help_text="It is asked if the first one is known to have charged nothing.",
                        max_length=64,
                        null=True,
                    ),
                ),
                (
                    "note",
                    models.CharField(blank=True, default="", help_text="The reason for this rule.", max_length=255),
                ),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                (
                    "merchant",
                    models.ForeignKey(
                        blank=True,
                        db_index=False,
                        help_text="Empty: all merchants without a rule of their own.",
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="gateway_routes",
                        to="payments.merchant",
                    ),
                ),
            ],
            options={
                "ordering": ["-id"],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("merchant", "currency"),
                        name="gateway_route_once",
                        nulls_distinct=False,
                        violation_error_message="There is a route for this merchant and currency: change it.",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("currency", None), ("currency__regex", "^[A-Z]{3}$"), _connector="OR"),
                        name="gateway_route_currency_possible",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("gateway", ""), _negated=True),
                            models.Q(
                                ("fallback", None),
                                models.Q(
                                    models.Q(("fallback", ""), _negated=True),
                                    models.Q(("fallback", models.F("gateway")), _negated=True),
                                ),
                                _connector="OR",
                            ),
                        ),
                        name="gateway_route_gateways_differ",
                        violation_error_message="The second gateway must be another one.",
                    ),
                ],
            },
        ),
        append_only("payments_gatewayroutechange"),
        RECORD,
    ]
