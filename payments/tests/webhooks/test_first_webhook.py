"""From a committed payment to a signed request at a merchant's server."""

from standardwebhooks import Webhook

from payments.models import WebhookDelivery, WebhookEvent
from payments.tests.factories import make_payment
from payments.webhooks.endpoints import create_endpoint


def test_a_payment_arrives_signed_at_the_endpoint_of_its_merchant(merchant, receiver, announce, deliver):
    endpoint, secret = create_endpoint(merchant_id=merchant.pk, url=receiver.url(), event_types=["payment.succeeded"])
    payment = make_payment(merchant)

    announce()
    deliver()

    (request,) = receiver.received
    verified = Webhook(secret).verify(request.body, request.headers)
    assert verified == request.event
    assert (verified["type"], verified["data"]["id"]) == ("payment.succeeded", str(payment.pk))
    event = WebhookEvent.objects.get(merchant=merchant, type="payment.succeeded")
    assert request.headers["webhook-id"] == str(event.pk) == verified["id"]
    (delivery,) = WebhookDelivery.objects.filter(endpoint=endpoint)
    assert (delivery.status, delivery.tries) == ("delivered", 1)
    (attempt,) = delivery.attempts.all()
    assert (attempt.outcome, attempt.status_code, attempt.answer) == ("delivered", 200, "ok")
