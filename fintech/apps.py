from django.apps import AppConfig


class FintechConfig(AppConfig):
    name = "fintech"
