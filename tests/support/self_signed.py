"""Certificates made anew for a test: self-signed ones that nobody vouches for, and ones that a private CA signs.

Promises: keys and certificates live in memory; what the ``ssl`` module must read from a file is removed at once. It
does not fail.
"""

import datetime as dt
import ssl
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_PEM = serialization.Encoding.PEM
_DER = serialization.Encoding.DER


@dataclass(frozen=True, slots=True)
class Identity:
    """A certificate, its key, and the certificates to send along with it."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    chain: tuple[x509.Certificate, ...] = ()

    @property
    def der(self) -> tuple[bytes, ...]:
        """The certificate and its chain as a server sends them."""
        return tuple(certificate.public_bytes(_DER) for certificate in (self.certificate, *self.chain))

    @property
    def context(self) -> ssl.SSLContext:
        """A server-side TLS context that shows this certificate."""
        pem = self.key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        pem += b"".join(certificate.public_bytes(_PEM) for certificate in (self.certificate, *self.chain))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        with tempfile.TemporaryDirectory() as folder:  # the ssl module loads chains from files only
            path = Path(folder) / "chain.pem"
            path.touch(mode=0o600)
            path.write_bytes(pem)
            context.load_cert_chain(path)
        return context


class Authority:
    """A private certificate authority; ``under`` makes it an intermediate one of another."""

    def __init__(self, name: str = "Test CA", *, under: "Authority | None" = None) -> None:
        """Make key and certificate."""
        self.key = ec.generate_private_key(ec.SECP256R1())
        subject = _named(name)
        builder = (
            _builder(subject, subject if under is None else under.certificate.subject, self.key, days=30)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(_key_usage(signs_certificates=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self.key.public_key()), critical=False)
        )
        signer = self if under is None else under
        if under is not None:
            builder = builder.add_extension(under.identifier, critical=False)
        self.certificate: x509.Certificate = builder.sign(signer.key, hashes.SHA256())
        self._above = () if under is None else (under.certificate,)

    @property
    def identifier(self) -> x509.AuthorityKeyIdentifier:
        """What a certificate says of the key that signed it."""
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())

    @property
    def pem(self) -> bytes:
        """The authority's certificate, for who is to trust it."""
        return self.certificate.public_bytes(_PEM)

    @property
    def der(self) -> bytes:
        """The same in DER."""
        return self.certificate.public_bytes(_DER)

    def identity(
        self, names: Sequence[str], *, days: int = 30, common_name: str = "", key_usage: bool = True
    ) -> Identity:
        """Sign a server's certificate for ``names``; it has expired if ``days`` is negative."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = (
            _builder(_named(common_name or "server"), self.certificate.subject, key, days=days)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(self.identifier, critical=False)
        )
        if key_usage:
            builder = builder.add_extension(_key_usage(signs_certificates=False), critical=True)
        if names:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False
            )
        return Identity(builder.sign(self.key, hashes.SHA256()), key, (self.certificate, *self._above))


def self_signed(name: str, *, days: int = 30) -> Identity:
    """Make a certificate that nobody vouches for."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _named(name[:64])
    certificate = (
        _builder(subject, subject, key, days=days)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Identity(certificate, key)


def server_context(name: str) -> ssl.SSLContext:
    """Give a server-side TLS context whose certificate nobody vouches for."""
    return self_signed(name).context


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, *, days: int
) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    end = now + dt.timedelta(days=days)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(min(now, end) - dt.timedelta(days=1))
        .not_valid_after(end)
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )
