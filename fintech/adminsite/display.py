"""The display of times, states, links and raw data in the admin."""

from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from operator import attrgetter
from typing import Any
from uuid import UUID

import orjson
from django.db.models import Model
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.decorators import display

# Longer raw data is not shown on a page.
MAX_SHOWN = 20_000


def show_time(moment: datetime | None) -> SafeString | str:
    """Show a time in UTC, to the second."""
    return show_whole(f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S}") if moment else "-"


def column(
    description: str, show: Callable[[Any], Any], field: str = "", *, ordering: str | None = None
) -> Callable[[Any, Any], Any]:
    """Return a column or field of an admin: it shows the row, or its `field`, which may be a related row's."""
    read = attrgetter(field) if field else None

    @display(description=description, ordering=ordering)
    def shown(self: Any, row: Any) -> Any:
        return show(read(row) if read else row)

    return shown


def show_whole(text: str) -> SafeString:
    """Show text on one line, with digits of equal width."""
    return format_html('<span class="whole">{}</span>', text)


@lru_cache(maxsize=1000)  # a list shows the same few values on each row, and rendering a template takes a millisecond
def show_badge(text: str, colour: str) -> SafeString:
    return render_to_string("unfold/helpers/label.html", {"text": text, "type": colour})


def pretty(data: Any) -> str:
    """Return indented JSON, not escaped; templates and `format_html` escape it."""
    text = orjson.dumps(data, option=orjson.OPT_INDENT_2, default=str).decode()
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}\n… and {len(text) - MAX_SHOWN:,} more"


def show_code(text: object) -> SafeString:
    return format_html('<span class="code">{}</span>', text)


def show_json(data: Any) -> SafeString | str:
    return format_html('<pre class="raw">{}</pre>', pretty(data)) if data else "-"


def show_values(values: dict[str, Any]) -> SafeString | str:
    """Show one value a line: numbers with separators, lists by their members."""
    rows = format_html_join("", "<tr><th>{}</th><td>{}</td></tr>", ((k, _in_words(v)) for k, v in values.items()))
    return format_html('<table class="sheet">{}</table>', rows) if values else "-"


def _in_words(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "-"
    return f"{value:,}" if isinstance(value, int) else str(value)


def page_of(model: type[Model], key: object) -> str:
    """Return the address of a row's page."""
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_change", args=[key])


def link_to(model: type[Model], key: object, text: object = None) -> SafeString:
    code = "code whole" if text is None and isinstance(key, UUID) else ""
    return format_html('<a class="link {}" href="{}">{}</a>', code, page_of(model, key), text or key)
