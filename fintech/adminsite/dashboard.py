"""The admin's first page: each app says what is to be done now (`dashboard` of its AppConfig)."""

from typing import Any

from django.apps import apps
from django.http import HttpRequest


def add_sections(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Unfold's hook. `sections` are templates, each with what its app put into the context."""
    configs = reversed([*apps.get_app_configs()])  # who watches before what is watched
    found = [config.dashboard(request) for config in configs if hasattr(config, "dashboard")]
    for section in filter(None, found):
        context = {**context, **section, "sections": [*context.get("sections", ()), section["template"]]}
    return context
