"""How the destination of a dynamic link travels in the link itself: ``?u=<base64url of the URL>&m=<mac>``.

Promises: ``read_destination`` gives back what ``write_destination`` took; whether it was ours is for the MAC to say.
Fails: ``ValueError`` for what is not base64url of an ``http`` or ``https`` URL within bounds.
"""

import binascii
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode

DESTINATION_MAX_BYTES = 4096

_ENCODED = re.compile(r"[A-Za-z0-9_-]+")
_TRACKED = re.compile(r"https?://[^\x00-\x20\x7f]+", re.IGNORECASE)


def is_destination(url: str) -> bool:
    """Whether a tracker may lead to ``url``: ``http`` or ``https``, no white space, no control characters."""
    return _TRACKED.fullmatch(url) is not None


def write_destination(url: str) -> str:
    """``url`` in base64url without padding.

    Raises:
        ValueError: it is longer than ``DESTINATION_MAX_BYTES``.

    """
    octets = url.encode()
    if len(octets) > DESTINATION_MAX_BYTES:
        raise ValueError(f"a link of more than {DESTINATION_MAX_BYTES} octets")
    return urlsafe_b64encode(octets).rstrip(b"=").decode("ascii")


def read_destination(encoded: str) -> str:
    """The URL that ``encoded`` carries.

    Raises:
        ValueError: it carries none.

    """
    if len(encoded) > DESTINATION_MAX_BYTES * 4 // 3 + 2 or not _ENCODED.fullmatch(encoded):
        raise ValueError("not base64url of a link")
    try:
        url = urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)).decode()
    except binascii.Error as error:
        raise ValueError("not base64url") from error
    if not is_destination(url):
        raise ValueError("not an http or https link")
    return url
