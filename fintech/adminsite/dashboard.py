"""The admin's first page: each app adds a section with its current state (`dashboard` of its AppConfig)."""

from typing import Any

from django.apps import apps
from django.http import HttpRequest


def add_sections(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Add the sections, as a hook of Unfold. `sections` are templates; each app adds its data to the context."""
    configs = reversed([*apps.get_app_configs()])  # the monitoring first
    found = [config.dashboard(request) for config in configs if hasattr(config, "dashboard")]
    for section in filter(None, found):
        context = {**context, **section, "sections": [*context.get("sections", ()), section["template"]]}
    return context
