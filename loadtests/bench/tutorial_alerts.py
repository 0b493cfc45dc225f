"""What a tutorial builds for Alertmanager's webhook: a Django view that makes a row for each alert, one `create` each.

In its favour: it keeps its connection, takes bodies of any size, and does nothing else - no hash, no raw body, no
identities, episodes or transitions.
"""

import json
import os

import django
from django.conf import settings
from psycopg.conninfo import conninfo_to_dict

_parts = conninfo_to_dict(os.environ["DATABASE_URL"])
settings.configure(
    SECRET_KEY=os.environ["DJANGO_SECRET_KEY"],
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    MIDDLEWARE=["django.middleware.common.CommonMiddleware"],
    DATA_UPLOAD_MAX_MEMORY_SIZE=None,
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": _parts["dbname"],
            "USER": _parts["user"],
            "PASSWORD": _parts["password"],
            "HOST": _parts["host"],
            "CONN_MAX_AGE": None,
        }
    },
    USE_TZ=True,
)
django.setup(set_prefix=False)

from django.core.handlers.wsgi import WSGIHandler  # noqa: E402
from django.db import connection, models  # noqa: E402
from django.http import HttpRequest, JsonResponse  # noqa: E402
from django.urls import path  # noqa: E402


class Alert(models.Model):
    fingerprint = models.CharField(max_length=32)
    status = models.CharField(max_length=10)
    alertname = models.CharField(max_length=255)
    severity = models.CharField(max_length=32)
    labels = models.JSONField()
    annotations = models.JSONField()
    starts_at = models.DateTimeField()
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        app_label = "tutorial"

    def __str__(self) -> str:
        return self.alertname


def receive(request: HttpRequest) -> JsonResponse:
    alerts = json.loads(request.body)["alerts"] if request.method == "POST" else []
    for alert in alerts:
        Alert._default_manager.create(
            fingerprint=alert["fingerprint"],
            status=alert["status"],
            alertname=alert["labels"]["alertname"],
            severity=alert["labels"]["severity"],
            labels=alert["labels"],
            annotations=alert["annotations"],
            starts_at=alert["startsAt"],
        )
    return JsonResponse({"stored": len(alerts)})


urlpatterns = [path("alert", receive)]
application = WSGIHandler()


if __name__ == "__main__":
    with connection.schema_editor() as editor:
        editor.create_model(Alert)
    with connection.cursor() as cursor:
        cursor.execute("GRANT ALL ON tutorial_alert TO app")
