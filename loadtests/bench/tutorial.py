"""(b) A tutorial's implementation: a Django REST framework ModelViewSet with one plain insert and all defaults."""

import os

import django
from django.conf import settings

from loadtests.bench.tutorial_database import databases

settings.configure(
    SECRET_KEY=os.environ["DJANGO_SECRET_KEY"],
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    # defaults of django-admin startproject, and REST framework
    INSTALLED_APPS=[
        "django.contrib.admin",
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.sessions",
        "django.contrib.messages",
        "django.contrib.staticfiles",
        "rest_framework",
    ],
    MIDDLEWARE=[
        "django.middleware.security.SecurityMiddleware",
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.common.CommonMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
        "django.middleware.clickjacking.XFrameOptionsMiddleware",
    ],
    DATABASES=databases(int(os.environ.get("BENCH_CONN_MAX_AGE", "0"))),
    USE_TZ=True,
)
django.setup(set_prefix=False)

from django.core.handlers.wsgi import WSGIHandler  # noqa: E402 - after setup
from django.db import models  # noqa: E402 - after setup
from rest_framework import serializers, viewsets  # noqa: E402 - after setup
from rest_framework.routers import DefaultRouter  # noqa: E402 - after setup


class Sale(models.Model):
    amount = models.BigIntegerField()
    currency = models.CharField(max_length=3)
    customer = models.CharField(max_length=255, blank=True)
    reference = models.CharField(max_length=255, blank=True)
    payment_method = models.JSONField(default=dict)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        app_label = "tutorial"

    def __str__(self) -> str:
        return f"{self.amount} {self.currency}"


class SaleSerializer(serializers.ModelSerializer):  # type: ignore[type-arg]  # it takes none at run time
    class Meta:
        model = Sale
        fields = "__all__"


class SaleViewSet(viewsets.ModelViewSet):  # type: ignore[type-arg]  # it takes none at run time
    queryset = Sale._default_manager.all()
    serializer_class = SaleSerializer


router = DefaultRouter()
router.register("sales", SaleViewSet)
urlpatterns = router.urls
application = WSGIHandler()


def create_table() -> None:
    from django.db import connection

    with connection.schema_editor() as editor:
        editor.create_model(Sale)
    with connection.cursor() as cursor:
        cursor.execute("GRANT ALL ON tutorial_sale TO app")


if __name__ == "__main__":
    create_table()
