"""A merchant's URL leads to public addresses only, however it is written and whatever its name resolves to."""

import ipaddress
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from aiohttp.abc import AbstractResolver

from fintech.testing.certificates import write_certificate
from payments.errors import InvalidRequest
from payments.models import WebhookAttempt
from payments.tests.webhooks.receiver import running_receiver
from payments.webhooks.addresses import check_url, is_public
from payments.webhooks.endpoints import change_endpoint, create_endpoint
from payments.webhooks.transport import Transport, read_retry_after


@pytest.mark.parametrize(
    "url",
    [
        "http://shop.example/hook",
        "ftp://shop.example/hook",
        "https://",
        "shop.example",
        "",
        "https://shop.example:80/",
        "https://shop.example:5432/",
        "https://shop.example:99999/",
        "https://user:password@shop.example/",
        "https://shop.example/#part",
        "https://shop.example/a b",
        "https://shöp.example/",
        "https://localhost/",
        "https://LOCALHOST/",
        "https://shop.localhost/",
        "https://127.0.0.1/",
        "https://10.1.2.3/",
        "https://169.254.169.254/latest/meta-data",
        "https://[::1]/",
        "https://[fe80::1]/",
        "https://[::ffff:127.0.0.1]/",
        "https://[64:ff9b::10.0.0.1]/",
        "https://0.0.0.0/",
        "https://[::127.0.0.1]/",
        "https://[64:ff9b:1::1]/",
        "https://localhost./",
        "https://127.0.0.1./",
        "https://127.1/",
        "https://2130706433/",
        "https://0x7f000001/",
        "https://%31%32%37.0.0.1/",
        "https://127.0.0.1\\.shop.example/",
        "https://shop.example:0/",
        "https://shop..example/",
        "https://./",
        "https://-shop.example/",
        "https://shop.example/\x7f",
        "https://<script>/",
        f"https://{'x' * 64}.example/",
        "https://shop.example/" + "x" * 2048,
    ],
)
def test_a_url_that_leads_inside_is_refused(merchant, settings, url):
    settings.WEBHOOKS_TO_LOOPBACK = False

    with pytest.raises(InvalidRequest) as refusal:
        create_endpoint(merchant_id=merchant.pk, url=url)

    assert (refusal.value.code, refusal.value.param) == ("invalid_url", "url")
    assert not merchant.webhook_endpoints.exists()


@pytest.mark.parametrize(
    "url",
    ["https://shop.example", "https://shop.example:8443/hook?shop=7", "https://shop.example:443/", "https://8.8.8.8/"],
)
def test_a_public_url_is_accepted(settings, url):
    settings.WEBHOOKS_TO_LOOPBACK = False

    check_url(url)


def test_an_endpoint_whose_url_is_refused_by_now_can_be_disabled(endpoint, settings):
    settings.WEBHOOKS_TO_LOOPBACK = False

    changed = change_endpoint(endpoint, url=endpoint.url, is_enabled=False)

    assert (changed.url, changed.is_enabled) == (endpoint.url, False)


def test_a_change_to_a_url_that_leads_inside_is_refused(endpoint):
    with pytest.raises(InvalidRequest):
        change_endpoint(endpoint, url="https://10.0.0.1/")


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "169.254.169.254",
        "224.0.0.1",
        "0.0.0.0",
        "255.255.255.255",
        "::",
        "::1",
        "fe80::1",
        "fc00::1",
        "ff02::1",
        "::ffff:10.0.0.1",
        "2002:a00:1::1",
        "64:ff9b::7f00:1",
        "64:ff9b:1::808:808",
        "::808:808",
        "fec0::1",
        "5f00::1",
        "4000::1",
        "::ffff:8.8.8.8",
    ],
)
def test_an_address_of_a_network_of_ours_is_not_public(address):
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "2002:808:808::1", "64:ff9b::808:808"])
def test_an_address_of_the_internet_is_public(address):
    assert is_public(ipaddress.ip_address(address))


class RebindingResolver(AbstractResolver):
    """A name server of an attacker: first a public address, then loopback."""

    def __init__(self, port: int) -> None:
        self.asked = 0
        self._port = port

    async def resolve(self, host, port=0, family=socket.AF_INET):
        self.asked += 1
        address = "198.51.100.1" if self.asked == 1 else "127.0.0.1"
        entry = {
            "hostname": host,
            "host": address,
            "port": self._port,
            "family": socket.AF_INET,
            "proto": 0,
            "flags": 0,
        }
        return [entry]

    async def close(self) -> None:
        """Hold nothing."""


def attempts(endpoint) -> list[WebhookAttempt]:
    return list(WebhookAttempt.objects.filter(delivery__endpoint=endpoint))


def test_a_name_that_resolves_to_loopback_at_the_second_time_is_not_connected(
    merchant, settings, queue, deliver_by, receiver
):
    settings.WEBHOOKS_TO_LOOPBACK = False
    endpoint, _ = create_endpoint(merchant_id=merchant.pk, url="https://shop.example/hook")
    queue(endpoint)
    resolver = RebindingResolver(receiver.port)
    resolver.asked = 1

    deliver_by(lambda: Transport(resolver=resolver, timeout=3))

    (attempt,) = attempts(endpoint)
    assert (attempt.outcome, receiver.received) == ("address", [])
    assert "127.0.0.1 is not a public address" in attempt.answer


def test_a_name_is_resolved_once_for_a_connection(merchant, settings, queue, deliver_by, receiver):
    settings.WEBHOOKS_TO_LOOPBACK = False
    endpoint, _ = create_endpoint(merchant_id=merchant.pk, url="https://shop.example/hook")
    queue(endpoint)
    resolver = RebindingResolver(receiver.port)

    deliver_by(lambda: Transport(resolver=resolver, timeout=0.5))

    (attempt,) = attempts(endpoint)
    assert resolver.asked == 1
    assert attempt.outcome in ("address", "timeout", "connection")  # 198.51.100.1 is of documentation
    assert receiver.received == []


@pytest.mark.parametrize("host", ["127.1", "2130706433", "0x7f000001", "localhost.localdomain"])
def test_another_spelling_of_loopback_is_not_connected(merchant, settings, queue, deliver_by, host):
    settings.WEBHOOKS_TO_LOOPBACK = False
    endpoint, _ = create_endpoint(merchant_id=merchant.pk, url="https://shop.example/")
    endpoint.url = f"https://{host}/"  # as earlier releases stored it
    endpoint.save(update_fields=["url"])
    queue(endpoint)

    deliver_by(lambda: Transport(timeout=5))

    (attempt,) = attempts(endpoint)
    assert attempt.outcome in ("address", "connection")
    assert attempt.status_code is None


@pytest.mark.parametrize("name", ["127.0.0.1", "other.example"])
def test_a_certificate_that_does_not_verify_is_refused(merchant, queue, deliver, tmp_path, name):
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    write_certificate(certificate, key, name=name, expires=datetime.now(UTC) + timedelta(days=1))
    with running_receiver(certificate, key) as receiver:
        endpoint, _ = create_endpoint(merchant_id=merchant.pk, url=receiver.url())
        queue(endpoint)

        deliver()

        assert [attempt.outcome for attempt in attempts(endpoint)] == ["certificate"]
        assert receiver.received == []


@pytest.fixture
def trusted_certificate(tmp_path, monkeypatch):
    def write(days: float) -> tuple[Path, Path]:
        certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
        write_certificate(certificate, key, name="127.0.0.1", expires=datetime.now(UTC) + timedelta(days=days))
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        return certificate, key

    return write


@pytest.mark.parametrize("outcome", ["delivered", "certificate"])
def test_a_certificate_of_a_known_authority_is_accepted_until_it_expires(
    merchant, queue, deliver, trusted_certificate, outcome
):
    certificate, key = trusted_certificate(1 if outcome == "delivered" else -0.01)
    with running_receiver(certificate, key) as receiver:
        endpoint, _ = create_endpoint(merchant_id=merchant.pk, url=receiver.url())
        queue(endpoint)

        deliver()

        assert [attempt.outcome for attempt in attempts(endpoint)] == [outcome]


NOW = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0),
        ("120", 120),
        ("Sat, 31 Jan 2026 12:01:00 GMT", 60),
        ("Sat, 31 Jan 2026 11:00:00 GMT", 0),
        ("999999999999", 86_400),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("1e9", None),
        ("²", None),
    ],
)
def test_retry_after_is_read_in_both_forms(value, seconds):
    assert read_retry_after(value, NOW) == seconds
