"""How times, states, links and raw data look on the admin's pages."""

from datetime import UTC, datetime
from functools import lru_cache
from typing import Any
from uuid import UUID

import orjson
from django.db.models import Model
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

# More than this of raw data is not for a page.
LONGEST_SHOWN = 20_000


def show_time(moment: datetime | None) -> SafeString | str:
    """To the second, in UTC."""
    return show_whole(f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S}") if moment else "-"


def show_whole(text: str) -> SafeString:
    """On one line, digits below digits."""
    return format_html('<span class="whole">{}</span>', text)


@lru_cache(maxsize=1000)  # a list shows the same few words on each of its rows, and a template costs a millisecond
def show_badge(text: str, colour: str) -> SafeString:
    return render_to_string("unfold/helpers/label.html", {"text": text, "type": colour})


def pretty(data: Any) -> str:
    """JSON with indents. Still to be escaped, as templates and `format_html` do."""
    text = orjson.dumps(data, option=orjson.OPT_INDENT_2, default=str).decode()
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}\n… and {len(text) - LONGEST_SHOWN:,} more"


def show_code(text: object) -> SafeString:
    return format_html('<span class="code">{}</span>', text)


def show_json(data: Any) -> SafeString | str:
    return format_html('<pre class="raw">{}</pre>', pretty(data)) if data else "-"


def page_of(model: type[Model], key: object) -> str:
    """The address of a row's page."""
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_change", args=[key])


def link_to(model: type[Model], key: object, text: object = None) -> SafeString:
    code = "code whole" if text is None and isinstance(key, UUID) else ""
    return format_html('<a class="link {}" href="{}">{}</a>', code, page_of(model, key), text or key)
