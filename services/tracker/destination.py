"""Where a click may lead: a destination of the message's own template, or one whose MAC we issued.

Promises: ``to_location`` gives an absolute http or https URL that is safe in a header field, whatever a template or a
merge value has put into it.
Fails: ``None`` for everything else; the caller answers 404, so there is no open redirect.
"""

import re
from typing import Final
from urllib.parse import SplitResult, quote, urlsplit, urlunsplit

import idna

from hayabin.content.destination import read_destination
from hayabin.domain.token import TokenInvalid, TokenRing

URL_MAX_CHARS: Final = 8192
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_KEPT = "%!#$&'()*+,/:;=?@[]~"
"""What stands unescaped in a URL (RFC 3986 §2.2); a percent sign begins an escape that the author wrote."""


def to_location(url: str) -> str | None:
    """``url`` as a Location field says it (RFC 9110 §10.2.2): ASCII only, host in A-labels; None where it can not.

    Browsers read a backslash as a slash and drop line ends inside a URL: such ones are refused, not mended.
    """
    bare = url.strip()
    if len(bare) > URL_MAX_CHARS or _CONTROL.search(bare):
        return None
    try:
        parts = urlsplit(bare)
        host = parts.hostname
        _ = parts.port  # raises for a port that is no number below 65,536
    except ValueError:
        return None
    if parts.scheme not in {"http", "https"} or not host or "\\" in parts.netloc or " " in parts.netloc:
        return None
    netloc = parts.netloc if parts.netloc.isascii() else _netloc(parts, host)
    if netloc is None:
        return None
    rest = urlunsplit(("", "", parts.path, parts.query, parts.fragment))
    try:
        return f"{parts.scheme}://{quote(netloc, safe=_KEPT)}{quote(rest, safe=_KEPT)}"
    except UnicodeEncodeError:  # a lone surrogate
        return None


def _netloc(parts: SplitResult, host: str) -> str | None:
    """Host and port with the host in A-labels (UTS 46)."""
    try:
        ascii_host = idna.encode(host, uts46=True).decode("ascii")
    except idna.IDNAError:
        return None
    return ascii_host if parts.port is None else f"{ascii_host}:{parts.port}"


def dynamic_destination(ring: TokenRing, message_id: int, link: int, encoded: str, mac: str) -> str | None:
    """The destination that merge values made: ``encoded`` carries the URL, ``mac`` covers it for this mail and link."""
    try:
        url = read_destination(encoded)
        ring.check_link_mac(message_id, link, url, mac)
    except (TokenInvalid, ValueError):
        return None
    return to_location(url)
