"""TLS on our side of a connection: what is asked of the server's certificate, and what the server showed.

Promises: TLS 1.2 or newer, always; a context that verifies looks at names in ``subjectAltName`` only. Contexts are made
once and kept. Fails with ``OSError`` for a file of CAs that cannot be read.
"""

import ssl
from functools import lru_cache
from typing import Any, Final

import certifi

_ENCODING_DER: Final = 2  # the ssl module's own number


@lru_cache(maxsize=1)
def unverifying_context() -> ssl.SSLContext:
    """Give a context that takes any certificate: it keeps out who only listens, or DANE judges afterwards."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


@lru_cache(maxsize=8)
def verifying_context(ca_file: str = "") -> ssl.SSLContext:
    """Give a context that wants a valid certificate with the server's name; the public CAs where no file is given.

    Source: RFC 8461 §4.2, RFC 6125 §6.4.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.hostname_checks_common_name = False
    context.load_verify_locations(ca_file or certifi.where())
    return context


def shown_chain(ssl_object: Any) -> tuple[bytes, ...]:
    """Give the certificates that the server sent (DER), its own first; none if it sent none.

    Python has a public way only from 3.13 on.
    """
    inner = ssl_object._sslobj  # noqa: SLF001
    return tuple(
        one if isinstance(one, bytes) else one.public_bytes(_ENCODING_DER) for one in inner.get_unverified_chain() or ()
    )
