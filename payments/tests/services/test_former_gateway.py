"""Operations on a payment whose gateway is not configured any more."""

import secrets

import pytest

from payments.gateway.base import GatewayError
from payments.models import IdempotencyKey, Merchant, Refund, Transaction
from payments.schemas import RefundInput
from payments.services.refunds import create_refund
from payments.tests.factories import make_payment

pytestmark = pytest.mark.django_db


def test_a_refund_of_a_former_gateway_reserves_nothing():
    payment = make_payment(Merchant.objects.create(name="Merchant", country="DE"), gateway="former")
    key = secrets.token_hex(12)

    with pytest.raises(GatewayError, match="no gateway named 'former' is configured"):
        create_refund(merchant_id=payment.merchant_id, transaction_id=payment.pk, key=key, body=RefundInput())

    assert Transaction.objects.get(pk=payment.pk).amount_reserved == 0
    assert not Refund.objects.filter(transaction=payment).exists()
    assert not IdempotencyKey.objects.filter(key=key).exists()  # the same request works once the gateway is configured
