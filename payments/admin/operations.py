"""Refund, capture and void from the admin: each has a form, a permission and a service."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar
from uuid import uuid4

from django import forms
from django.contrib import messages
from django.http import HttpRequest
from unfold.widgets import UnfoldAdminIntegerFieldWidget, UnfoldAdminTextareaWidget, UnfoldBooleanSwitchWidget

from payments.admin.recorded import actor_of
from payments.bodies import parse
from payments.currencies import format_amount
from payments.errors import PaymentError
from payments.models import Authorization, Capture, Refund, Review, Transaction, Void
from payments.schemas import MAX_AMOUNT, CaptureInput, Input, RefundInput, ReviewInput, VoidInput
from payments.serializers import serialize_failure
from payments.services.captures import create_capture
from payments.services.refunds import create_refund
from payments.services.results import Result
from payments.services.reviews import decide_review
from payments.services.voids import create_void
from payments.states import CaptureStatus


def left_to_refund(payment: Transaction) -> int:
    """Return the remaining amount in minor units; 0 unless something was captured."""
    return payment.amount_captured - payment.amount_reserved


def left_to_capture(payment: Transaction) -> int:
    """Return the amount that is held and in no capture or void; 0 unless the payment is authorized."""
    return _held(payment) if payment.status == Transaction.Status.AUTHORIZED else 0


def left_to_review(payment: Transaction) -> int:
    """Return the amount that is held for a review; 0 if there is none, or its result is under way."""
    return _held(payment) if payment.status == Transaction.Status.IN_REVIEW else 0


def _held(payment: Transaction) -> int:
    held = Authorization.objects.filter(transaction=payment, closing_id=None).first()
    return held.amount_left - held.amount_reserved if held is not None else 0


class OperationForm(forms.Form):
    """`key` is created when the form is shown, so sending it several times makes one operation."""

    shape: type[Input]
    fixed: ClassVar[dict[str, Any]] = {}  # the fields of the request that the form does not ask for
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
        fields = self.fixed | {name: self.cleaned_data.get(name) for name in names}
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


class AcceptForm(OperationForm):
    shape = ReviewInput
    fixed: ClassVar = {"decision": Review.Decision.ACCEPT.value}
    reason = _reason_field("decision")


class RefuseForm(OperationForm):
    shape = ReviewInput
    fixed: ClassVar = {"decision": Review.Decision.REFUSE.value}
    reason = _reason_field("decision")


@dataclass(frozen=True)
class Operation:
    """`name` is also the last word of the page's address and, without `right`, the first of the permission."""

    name: str
    icon: str
    form: type[OperationForm]
    left: Callable[[Transaction], int]
    create: Callable[..., Result]
    explanation: str
    done: str
    noun: str = ""
    right: str = ""

    @property
    def permission(self) -> str:
        return f"payments.{self.right or self.name}_transaction"

    @property
    def nothing_left(self) -> str:
        return f"Nothing is left to {self.name}."

    def carry_out(self, request: HttpRequest, payment: Transaction, form: OperationForm) -> Result:
        return self.create(
            merchant_id=payment.merchant_id,
            transaction_id=payment.pk,
            key=f"admin-{form.cleaned_data['key']}",
            body=form.cleaned_data["body"],
            actor=actor_of(request),
        )

    def describe(self, outcome: Result) -> tuple[str, int]:
        """Return the message about an outcome, and its level."""
        operation = outcome.operation
        assert isinstance(operation, Refund | Capture | Void | Review)
        name = self.noun or self.name
        amount = format_amount(operation.amount, operation.transaction.currency)
        if outcome.is_replay:
            return f"This {name} of {amount} exists already: it is {operation.status}.", messages.INFO
        if operation.status == CaptureStatus.SUCCEEDED:
            return f"{self.done} {amount}.", messages.SUCCESS
        if failure := serialize_failure(operation.failure_code):
            return f"The {name} of {amount} failed: {failure.message}", messages.ERROR
        detail = f"The outcome of the {name} of {amount} is not known yet; the resolver settles it."
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
    Operation(
        "accept",
        "check",
        AcceptForm,
        left_to_review,
        decide_review,
        "The customer is charged, unless the merchant captures the payment itself. This cannot be undone.",
        "Accepted",
        noun="acceptance",
        right="review",
    ),
    Operation(
        "refuse",
        "block",
        RefuseForm,
        left_to_review,
        decide_review,
        "All that is held is released to the customer. This cannot be undone.",
        "Refused",
        noun="refusal",
        right="review",
    ),
)
