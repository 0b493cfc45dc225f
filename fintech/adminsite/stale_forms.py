"""Forms of the admin that were shown before another change of their row.

A form saves every field that it shows. From a page that was opened earlier, it would undo what another administrator
has changed since, such as "Active" off. So each page of a row contains a digest of the values that it shows.
"""

from hashlib import sha256
from typing import Any

from django.forms import BaseForm, ModelMultipleChoiceField

SHOWN_VALUES = "shown_values"  # the hidden field with the digest


class StaleForm(Exception):
    """A row has other values than its form showed."""


def digest_of(form: BaseForm) -> str:
    """Return a digest of the values that a form shows and saves. What was typed since does not count."""
    shown: list[tuple[str, Any]] = []
    for name, field in form.fields.items():
        if field.disabled:  # such as a user's password hash, which a login may renew
            continue
        value = field.prepare_value(form.get_initial_for_field(field, name))
        shown.append((name, sorted(value or []) if isinstance(field, ModelMultipleChoiceField) else value))
    return sha256(repr(shown).encode()).hexdigest()
