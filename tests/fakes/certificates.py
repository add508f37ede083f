"""Certificates as a store may show them: good, expired, of another host, of nobody known."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclass(frozen=True)
class Authority:
    """A CA whose certificate stands in ``file``."""

    file: Path
    _key: ec.EllipticCurvePrivateKey
    _name: x509.Name

    @classmethod
    def made(cls, file: Path) -> Authority:
        key = ec.generate_private_key(ec.SECP256R1())
        name = _named("a test's CA")
        basic = x509.BasicConstraints(ca=True, path_length=None)
        certificate = _builder(name, name, key, days=1).add_extension(basic, critical=True).sign(key, hashes.SHA256())
        file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        return cls(file, key, name)

    def server(self, top: Path, *, host: str = "127.0.0.1", days: int = 1) -> ssl.SSLContext:
        """A server's context for ``host``; one whose life ended yesterday for negative ``days``."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate(top, host=host, days=days))
        return context

    def certificate(self, top: Path, *, host: str, days: int) -> Path:
        """A file with key and certificate."""
        key = ec.generate_private_key(ec.SECP256R1())
        names: list[x509.GeneralName] = [x509.IPAddress(ip_address(host)) if host[0].isdigit() else x509.DNSName(host)]
        builder = _builder(_named(host), self._name, key, days=days)
        made = builder.add_extension(x509.SubjectAlternativeName(names), critical=False).sign(
            self._key, hashes.SHA256()
        )
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        file = top / f"{host}-{days}.pem"
        file.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
        return file


def _named(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, *, days: int
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=10))
        .not_valid_after(now + timedelta(days=days))
    )
