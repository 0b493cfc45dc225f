"""Fields drawn by hand look as Django's templates draw them."""

import pytest
from django.forms import CheckboxInput
from django.forms.renderers import DjangoTemplates
from django.test.html import parse_html

from fintech.forms import Renderer


@pytest.mark.parametrize(
    ("value", "attributes"),
    [
        ("7", {"class": "action-select", "aria-label": 'A "label" & <more>'}),
        (None, {"id": "x", "required": True, "disabled": False}),
        ('"><script>', {}),
    ],
)
def test_a_checkbox_is_drawn_as_its_template_draws_it(value, attributes):
    widget = CheckboxInput(attributes, check_test=lambda value: False)
    ours = widget.render("chosen", value, renderer=Renderer())

    assert parse_html(ours) == parse_html(widget.render("chosen", value, renderer=DjangoTemplates()))


def test_other_fields_keep_their_templates():
    widget = CheckboxInput()
    widget.template_name = "django/forms/widgets/text.html"

    assert 'type="checkbox"' in widget.render("chosen", None, renderer=Renderer())
