"""HTML pages of load tests and drills: each is one file without scripts, for light, dark and narrow screens."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def render(template: str, **values: Any) -> str:
    """Return a template of this folder as a page; page.html has the style that all of them share."""
    return TEMPLATES.get_template(template).render(**values)
