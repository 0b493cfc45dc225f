"""Put each delivery and observation among the pending in the transaction that stores it, so that none is skipped."""

from django.db import migrations

REMEMBER = """
CREATE FUNCTION remember_{kind}() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO alerts_audit_pending (kind, ref, at) VALUES ('{kind}', NEW.id, NEW.{at});
    RETURN NULL;
END
$$;
CREATE TRIGGER remember_pending AFTER INSERT ON alerts_audit_{kind}
FOR EACH ROW EXECUTE FUNCTION remember_{kind}();
INSERT INTO alerts_audit_pending (kind, ref, at) SELECT '{kind}', id, {at} FROM alerts_audit_{kind} ORDER BY id
"""
FORGET = """
DROP TRIGGER remember_pending ON alerts_audit_{kind};
DROP FUNCTION remember_{kind}();
"""


def remember(kind: str, at: str) -> migrations.RunSQL:
    return migrations.RunSQL(
        REMEMBER.replace("{kind}", kind).replace("{at}", at), FORGET.replace("{kind}", kind).replace("{at}", at)
    )


class Migration(migrations.Migration):
    dependencies = [("alerts_audit", "0003_guards")]

    operations = [remember("delivery", "received_at"), remember("observation", "observed_at")]
