from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("payments", "0010_gateway_events")]

    operations = [
        migrations.AlterModelOptions(
            name="transaction",
            options={
                "ordering": ["-id"],
                "permissions": [
                    ("refund_transaction", "Can refund a transaction"),
                    ("capture_transaction", "Can capture an authorized transaction"),
                    ("void_transaction", "Can void an authorized transaction"),
                    ("resolve_transaction", "Can request to resolve a transaction now"),
                ],
            },
        ),
    ]
