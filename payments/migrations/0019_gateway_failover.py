"""Let a payment go to another gateway, but only while it is `processing`: after an unknown outcome never."""

from django.db import migrations

SAME_TERMS = """
    DROP TRIGGER refuse_new_terms ON payments_transaction;
    CREATE TRIGGER refuse_new_terms BEFORE UPDATE ON payments_transaction FOR EACH ROW
        WHEN ((NEW.fee_basis_points, NEW.gateway, NEW.gateway_key)
            IS DISTINCT FROM (OLD.fee_basis_points, OLD.gateway, OLD.gateway_key))
        EXECUTE FUNCTION payments_refuse_rewriting('transaction');
"""
MOVABLE = """
    DROP TRIGGER refuse_new_terms ON payments_transaction;
    CREATE TRIGGER refuse_new_terms BEFORE UPDATE ON payments_transaction FOR EACH ROW
        WHEN ((NEW.fee_basis_points, NEW.gateway_key) IS DISTINCT FROM (OLD.fee_basis_points, OLD.gateway_key)
            OR NEW.gateway <> OLD.gateway AND NOT (OLD.status = 'processing' AND NEW.status = 'processing'))
        EXECUTE FUNCTION payments_refuse_rewriting('transaction');
"""


class Migration(migrations.Migration):
    dependencies = [("payments", "0018_reviews_and_velocity")]

    operations = [migrations.RunSQL(sql=MOVABLE, reverse_sql=SAME_TERMS)]
