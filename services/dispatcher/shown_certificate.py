"""A server's certificate in words.

Promises: what is not a certificate, or has what cannot be read, is said to be so; names are bounded in number and size.
It cannot fail.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

from cryptography import x509

from services.dispatcher.aloud import safe
from services.dispatcher.dane import UNREADABLE

_MOST_NAMES: Final = 20


def certificate_lines(der: bytes, now: datetime) -> Iterator[str]:
    """Give subject, issuer, names and dates of a certificate (DER), a line each."""
    try:
        certificate = x509.load_der_x509_certificate(der)
        lines = [
            f"certificate of {_name(certificate.subject)}, by {_name(certificate.issuer)}",
            f"certificate for {_names(certificate)}",
            f"certificate valid from {certificate.not_valid_before_utc:%Y-%m-%d} to {_end(certificate, now)}",
        ]
    except UNREADABLE as error:
        lines = [f"the certificate cannot be read: {error}"]
    for line in lines:
        yield safe(line)


def _name(name: x509.Name) -> str:
    return name.rfc4514_string() or "(no name)"


def _names(certificate: x509.Certificate) -> str:
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return "no name at all (no subjectAltName)"
    names = [*found.get_values_for_type(x509.DNSName), *map(str, found.get_values_for_type(x509.IPAddress))]
    more = len(names) - _MOST_NAMES
    return (", ".join(names[:_MOST_NAMES]) or "no name of a host") + (f" and {more} more" if more > 0 else "")


def _end(certificate: x509.Certificate, now: datetime) -> str:
    end = certificate.not_valid_after_utc
    left = end - now.astimezone(UTC)
    days = abs(left.days) if left.days >= 0 else abs(left.days + 1)
    return f"{end:%Y-%m-%d} ({f'{days} days left' if left.total_seconds() > 0 else f'expired {days} days ago'})"
