"""The display of states, seals and durations."""

from datetime import timedelta

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from alerts_audit.links import web_address

MAX_SHOWN = 160

# The colours of Unfold's badges.
STATE_COLOURS = {
    "firing": "danger",
    "resolved": "success",
    "superseded": "info",
    "stale": "warning",
    "unknown": "warning",
}
SEVERITY_COLOURS = {"critical": "danger", "warning": "warning", "info": "info"}
SEAL_COLOURS = {"sealed": "success", "archived": "info", "waiting": "default"}
REVIEW_COLOURS = {"acknowledge": "success", "comment": "default", "noise": "warning", "incident": "info"}
REVIEW_TITLES = {
    "acknowledge": "acknowledged",
    "comment": "comment",
    "noise": "marked as noise",
    "incident": "linked to an incident",
}


def show_duration(length: timedelta) -> str:
    """Return two units, such as 2 d 3 h, 10 min 5 s; the second only if it is not 0."""
    seconds = int(length.total_seconds())
    units = [(seconds // 86400, "d"), (seconds // 3600 % 24, "h"), (seconds // 60 % 60, "min"), (seconds % 60, "s")]
    while len(units) > 1 and not units[0][0]:
        del units[0]
    return " ".join(f"{number} {unit}" for number, unit in units[:2] if number or len(units) == 1)


def shorten(text: str, longest: int = MAX_SHOWN) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def show_labels(labels: dict[str, str]) -> SafeString:
    """Show each label as `name=value` in its own box."""
    pairs = ((shorten(str(name)), shorten(str(value), 1000)) for name, value in sorted(labels.items()))
    return format_html(
        '<span class="labels">{}</span>', format_html_join("", '<span class="code label">{}={}</span>', pairs)
    )


def show_link(address: str) -> SafeString | str:
    """Show an address, as a link if it is safe to follow."""
    safe = web_address(address)
    if safe is None:
        return shorten(address)
    return format_html('<a class="link" rel="noreferrer noopener" href="{}">{}</a>', safe, shorten(address))
