"""One DKIM key for everybody: the same RSA-2048 key signs our mail and that of the peers; Ed25519 is ours alone.

Promises: a key is made anew in every run; ``record`` is what a resolver would find. It does not fail.
"""

import ssl
from dataclasses import dataclass
from typing import Self

from services.api.dkim_keys import DkimKey, new_key

RSA = "rsa-sha256"
ED25519 = "ed25519-sha256"


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A key of ``domain`` under ``selector``."""

    domain: str
    selector: str
    key: DkimKey

    @classmethod
    def made_for(cls, domain: str, algorithm: str) -> Self:
        """Make one."""
        return cls(domain, algorithm.partition("-")[0], new_key(algorithm))

    @property
    def private_pem(self) -> str:
        """The private key as the peers read it."""
        return ssl.DER_cert_to_PEM_cert(self.key.private_der).replace("CERTIFICATE", "PRIVATE KEY")

    @property
    def record_name(self) -> str:
        """Where the public key would be published."""
        return f"{self.selector}._domainkey.{self.domain}"
