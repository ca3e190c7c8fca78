"""A certificate authority of the tests' own, for servers on 127.0.0.1 and for names."""

from __future__ import annotations

import datetime as dt
import ipaddress
import ssl
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclass(frozen=True)
class Issued:
    """What an authority signed for one name, and the authority itself, as PEM."""

    key: str
    certificate: str
    authority: str


def issued(name: str, days: float = 365.0) -> Issued:
    """A certificate for a name, by an authority that signs nothing else. `days`: how long it is valid."""
    signer, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    authority = _signed("tests", signer.public_key(), signer, ca=True)
    certificate = _signed(name, key.public_key(), signer, ca=False, days=days)
    return Issued(_pem(key), _pem(certificate), _pem(authority))


def tls_pair(folder: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """(a server's context for 127.0.0.1, a client's that trusts its authority and nothing else)"""
    made = issued("127.0.0.1")
    pem = folder / "server.pem"
    pem.write_text(made.key + made.certificate)
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(pem)
    return server, ssl.create_default_context(cadata=made.authority)


def _pem(given: ec.EllipticCurvePrivateKey | x509.Certificate) -> str:
    if isinstance(given, x509.Certificate):
        return given.public_bytes(serialization.Encoding.PEM).decode()
    return given.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def _signed(
    name: str,
    key: ec.EllipticCurvePublicKey,
    signer: ec.EllipticCurvePrivateKey,
    *,
    ca: bool,
    days: float = 1,
) -> x509.Certificate:
    now = dt.datetime.now(dt.UTC)
    try:
        host: x509.GeneralName = x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        host = x509.DNSName(name)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tests")]))
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    )
    if not ca:
        builder = builder.add_extension(x509.SubjectAlternativeName([host]), critical=False)
    return builder.sign(signer, hashes.SHA256())
