"""Certificates for the tests."""

import ipaddress
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


def write_certificate(certificate: Path, key: Path, *, name: str, expires: datetime) -> None:
    """Write a certificate for a host or an address that is its own authority."""
    pair = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    alternative: x509.GeneralName = x509.DNSName(name)
    with suppress(ValueError):
        alternative = x509.IPAddress(ipaddress.ip_address(name))
    begins = datetime.now(UTC) - timedelta(hours=1)
    builder = x509.CertificateBuilder(subject, subject, pair.public_key(), x509.random_serial_number(), begins, expires)
    builder = builder.add_extension(x509.SubjectAlternativeName([alternative]), critical=False)
    pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    certificate.write_bytes(builder.sign(pair, hashes.SHA256()).public_bytes(pem))
    key.write_bytes(pair.private_bytes(pem, form, serialization.NoEncryption()))
