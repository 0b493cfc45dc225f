"""How form fields are drawn."""

from typing import Any

from django.forms.renderers import DjangoTemplates
from django.forms.utils import flatatt
from django.http import HttpRequest
from django.utils.html import format_html

CHECKBOX = "django/forms/widgets/checkbox.html"


class Renderer(DjangoTemplates):
    """Checkboxes without a template: the admin draws two for each row of a list, a sixth of what a list costs."""

    def render(self, template_name: str, context: dict[str, Any], request: HttpRequest | None = None) -> str:
        if template_name != CHECKBOX:
            return super().render(template_name, context, request)
        widget = context["widget"]
        value = "" if widget["value"] is None else format_html(' value="{}"', widget["value"])
        return format_html('<input type="checkbox" name="{}"{}{}>', widget["name"], value, flatatt(widget["attrs"]))
