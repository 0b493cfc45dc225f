"""Refund, capture and void from the admin: each has a form, a permission and a service."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from django import forms
from django.contrib import messages
from django.http import HttpRequest
from unfold.widgets import UnfoldAdminIntegerFieldWidget, UnfoldAdminTextareaWidget, UnfoldBooleanSwitchWidget

from payments.currencies import format_amount
from payments.errors import PaymentError
from payments.models import Authorization, Capture, Refund, Transaction, Void
from payments.schemas import MAX_AMOUNT, CaptureInput, Input, RefundInput, VoidInput, parse
from payments.serializers import serialize_failure
from payments.services.captures import create_capture
from payments.services.refunds import create_refund
from payments.services.results import Result
from payments.services.voids import create_void


def left_to_refund(payment: Transaction) -> int:
    """Return the remaining amount in minor units; 0 unless something was captured."""
    return payment.amount_captured - payment.amount_reserved


def left_to_capture(payment: Transaction) -> int:
    """Return the amount that is held and in no capture or void; 0 unless the payment is authorized."""
    held = Authorization.objects.filter(transaction=payment, closing_id=None).first()
    return held.amount_left - held.amount_reserved if held is not None else 0


class OperationForm(forms.Form):
    """`key` is created when the form is shown, so sending it several times makes one operation."""

    shape: type[Input]
    key = forms.UUIDField(widget=forms.HiddenInput)

    def __init__(self, payment: Transaction, left: int, data: Any = None) -> None:
        super().__init__(data, initial={"amount": left, "key": uuid4()})
        if "amount" in self.fields:
            amount = format_amount(left, payment.currency)
            self.fields["amount"].label = f"Amount in minor units of {payment.currency}"
            self.fields["amount"].help_text = f"{left} is {amount}, the full remaining amount."

    def clean(self) -> dict[str, Any]:
        if "key" not in self.cleaned_data:
            self.add_error(None, "Open this form again: its idempotency key is missing.")
        names = [name for name in self.fields if name != "key"]
        fields = {name: self.cleaned_data.get(name) for name in names}
        try:
            self.cleaned_data["body"] = parse({k: None if v == "" else v for k, v in fields.items()}, self.shape)
        except PaymentError as error:
            self.refuse(error)
        return self.cleaned_data

    def refuse(self, error: PaymentError) -> None:
        self.add_error(error.param if error.param in self.fields else None, error.detail)


def _amount_field() -> forms.Field:
    return forms.IntegerField(widget=UnfoldAdminIntegerFieldWidget, min_value=1, max_value=MAX_AMOUNT)


def _reason_field(stored_with: str) -> forms.Field:
    widget = UnfoldAdminTextareaWidget(attrs={"rows": 3})
    return forms.CharField(widget=widget, required=False, help_text=f"Stored with the {stored_with}.")


class RefundForm(OperationForm):
    shape = RefundInput
    amount = _amount_field()
    reason = _reason_field("refund")


class CaptureForm(OperationForm):
    shape = CaptureInput
    amount = _amount_field()
    final = forms.BooleanField(
        widget=UnfoldBooleanSwitchWidget,
        required=False,
        initial=True,
        label="Release the rest",
        help_text="Off: more captures follow.",
    )


class VoidForm(OperationForm):
    shape = VoidInput
    reason = _reason_field("void")


@dataclass(frozen=True)
class Operation:
    """`name` is also the last word of the permission and of the page's address."""

    name: str
    icon: str
    form: type[OperationForm]
    left: Callable[[Transaction], int]
    create: Callable[..., Result]
    explanation: str
    done: str

    @property
    def permission(self) -> str:
        return f"payments.{self.name}_transaction"

    @property
    def nothing_left(self) -> str:
        return f"Nothing is left to {self.name}."

    def carry_out(self, request: HttpRequest, payment: Transaction, form: OperationForm) -> Result:
        return self.create(
            merchant_id=payment.merchant_id,
            transaction_id=payment.pk,
            key=f"admin-{form.cleaned_data['key']}",
            body=form.cleaned_data["body"],
            actor=f"admin:{request.user.get_username()}",
        )

    def describe(self, outcome: Result) -> tuple[str, int]:
        """Return the message about an outcome, and its level."""
        operation = outcome.operation
        assert isinstance(operation, Refund | Capture | Void)
        amount = format_amount(operation.amount, operation.transaction.currency)
        if outcome.is_replay:
            return f"This {self.name} of {amount} exists already: it is {operation.status}.", messages.INFO
        if operation.status == operation.Status.SUCCEEDED:
            return f"{self.done} {amount}.", messages.SUCCESS
        if failure := serialize_failure(operation.failure_code):
            return f"The {self.name} of {amount} failed: {failure.message}", messages.ERROR
        detail = f"The outcome of the {self.name} of {amount} is not known yet; the resolver settles it."
        return detail, messages.WARNING


OPERATIONS = (
    Operation(
        "refund",
        "undo",
        RefundForm,
        left_to_refund,
        create_refund,
        "In full or in part. The gateway refunds immediately. This cannot be undone.",
        "Refunded",
    ),
    Operation(
        "capture",
        "download",
        CaptureForm,
        left_to_capture,
        create_capture,
        "In full or in part. The customer is charged immediately. This cannot be undone.",
        "Captured",
    ),
    Operation(
        "void",
        "cancel",
        VoidForm,
        left_to_capture,
        create_void,
        "All that is not captured is released to the customer. This cannot be undone.",
        "Released",
    ),
)
