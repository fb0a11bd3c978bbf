"""Where a receiver stands and what it shows to who connects.

Promises: everything about it follows from its name, its address and its port; a certificate is made anew, signed by
itself. Its key is RSA: the OpenSMTPD of Debian 12 takes an EC key and then fails in every handshake. It does not fail.
"""

import datetime as dt
from dataclasses import dataclass
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate that nobody vouches for, and its key, both in PEM."""

    certificate_pem: str
    key_pem: str

    @classmethod
    def made_for(cls, name: str) -> Self:
        """Make one."""
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        now = dt.datetime.now(dt.UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=1))
            .not_valid_after(now + dt.timedelta(days=30))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
            .sign(key, hashes.SHA256())
        )
        pem = serialization.Encoding.PEM
        private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        return cls(certificate.public_bytes(pem).decode(), private.decode())

    @property
    def chain_pem(self) -> str:
        """The key and then the certificate, for servers that read one file."""
        return self.key_pem + self.certificate_pem


@dataclass(frozen=True, slots=True)
class Place:
    """One receiver's name and where it listens; it offers STARTTLS where it has a certificate."""

    name: str
    address: str
    port: int
    certificate: Certificate | None = None

    @property
    def domain(self) -> str:
        """The domain that it takes mail for, if the local part begins with ``reader``."""
        return f"{self.name}.example"

    @property
    def host(self) -> str:
        """The name that it calls itself, as the domain's MX record does."""
        return host_of(self.name)


def host_of(name: str) -> str:
    """Give the host name of a receiver."""
    return f"mx.{name}.example"
