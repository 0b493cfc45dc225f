"""Response headers that need no check."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from django.http.response import HttpResponseBase


def set_plain(response: "HttpResponseBase", name: str, value: str) -> None:
    """Set a header whose name and value are known to be printable ASCII: Django would encode both to find that out."""
    response.headers._store[name.lower()] = (name, value)
