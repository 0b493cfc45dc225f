"""Fill the terms of old rows, in batches that commit one by one; an interrupted run continues where it stopped."""

from typing import Any

from django.db import migrations

BATCH_SIZE = 10_000

# Until now the gateway knew a payment by its id. The rate is the merchant's where the stored fee agrees with it (or
# none was taken), else the smallest that results in the stored fee.
FILL_TRANSACTIONS = """
UPDATE payments_transaction AS payment
SET gateway_key = payment.id,
    fee_basis_points = CASE
        WHEN payment.status <> 'succeeded'
            OR payment.fee = (payment.amount * merchant.fee_basis_points + 5000) / 10000 THEN merchant.fee_basis_points
        ELSE greatest(0, ceil((payment.fee * 10000 - 5000)::numeric / payment.amount)) END
FROM payments_merchant AS merchant
WHERE merchant.id = payment.merchant_id AND payment.id = ANY (ARRAY(
    SELECT id FROM payments_transaction WHERE gateway_key IS NULL AND id > %s ORDER BY id LIMIT %s))
RETURNING payment.id
"""
FILL_REFUNDS = """
UPDATE payments_refund SET gateway_key = id WHERE id = ANY (ARRAY(
    SELECT id FROM payments_refund WHERE gateway_key IS NULL AND id > %s ORDER BY id LIMIT %s))
RETURNING id
"""


def fill(apps: Any, schema_editor: Any) -> None:
    for statement in (FILL_TRANSACTIONS, FILL_REFUNDS):
        last = "00000000-0000-0000-0000-000000000000"
        with schema_editor.connection.cursor() as cursor:
            while True:
                cursor.execute(statement, [last, BATCH_SIZE])
                filled = [str(row[0]) for row in cursor.fetchall()]
                if not filled:
                    break
                last = max(filled)


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("payments", "0003_charge_terms")]
    operations = [migrations.RunPython(fill, migrations.RunPython.noop)]
