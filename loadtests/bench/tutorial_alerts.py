"""A tutorial's implementation of Alertmanager's webhook: Django views that create rows with the ORM, one alert at a
time.

`/alert` creates one row per alert: no hash, no raw body, no identity, episode or transition. `/episodes` creates the
same rows as our projection. In favour of both: they keep their connection, accept bodies of any size, and their tables
have no unused index.
"""

import hashlib
import json
import os

import django
from django.conf import settings

from loadtests.bench.tutorial_database import databases

settings.configure(
    SECRET_KEY=os.environ["DJANGO_SECRET_KEY"],
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    MIDDLEWARE=["django.middleware.common.CommonMiddleware"],
    DATA_UPLOAD_MAX_MEMORY_SIZE=None,
    DATABASES=databases(None),
    USE_TZ=True,
)
django.setup(set_prefix=False)

from django.core.handlers.wsgi import WSGIHandler  # noqa: E402 - after setup
from django.db import connection, models  # noqa: E402 - after setup
from django.http import HttpRequest, JsonResponse  # noqa: E402 - after setup
from django.urls import path  # noqa: E402 - after setup


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


class Identity(models.Model):
    sha256 = models.CharField(max_length=64, unique=True)
    labels = models.JSONField()

    class Meta:
        app_label = "tutorial"

    def __str__(self) -> str:
        return self.sha256


class Episode(models.Model):
    identity = models.ForeignKey(Identity, on_delete=models.PROTECT)
    state = models.CharField(max_length=10)
    alertname = models.CharField(max_length=255)
    severity = models.CharField(max_length=32)
    annotations = models.JSONField()
    starts_at = models.DateTimeField()
    opened_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        app_label = "tutorial"

    def __str__(self) -> str:
        return self.alertname


class Transition(models.Model):
    episode = models.ForeignKey(Episode, on_delete=models.PROTECT)
    to_state = models.CharField(max_length=10)
    at = models.DateTimeField(auto_now_add=True)

    class Meta:
        app_label = "tutorial"

    def __str__(self) -> str:
        return self.to_state


def make_rows(request: HttpRequest) -> JsonResponse:
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


def make_episodes(request: HttpRequest) -> JsonResponse:
    alerts = json.loads(request.body)["alerts"] if request.method == "POST" else []
    for alert in alerts:
        labels = alert["labels"]
        digest = hashlib.sha256(json.dumps(labels, sort_keys=True).encode()).hexdigest()
        identity, _ = Identity._default_manager.get_or_create(sha256=digest, defaults={"labels": labels})
        episode = Episode._default_manager.create(
            identity=identity,
            state=alert["status"],
            alertname=labels["alertname"],
            severity=labels["severity"],
            annotations=alert["annotations"],
            starts_at=alert["startsAt"],
        )
        Transition._default_manager.create(episode=episode, to_state=alert["status"])
    return JsonResponse({"stored": len(alerts)})


urlpatterns = [path("alert", make_rows), path("episodes", make_episodes)]
application = WSGIHandler()


if __name__ == "__main__":
    with connection.schema_editor() as editor:
        for model in (Alert, Identity, Episode, Transition):
            editor.create_model(model)
            editor.execute(f"GRANT ALL ON {model._meta.db_table} TO app")
