"""What one SMTP transaction carries, checked before a byte of it is written.

Promises: an ``Envelope`` that exists cannot inject commands or parameters: its addresses have no control character, no
space and no angle bracket; they go out exactly as given (``a..b@docomo.ne.jp`` and ``"a..b"@docomo.ne.jp`` alike).
``wire_content`` never lets a line of one dot through that a lenient server could take for the end of the content.
Fails with ``EnvelopeRefused``, a mistake of whoever made the mail; nothing was sent then.
"""

import re
from dataclasses import dataclass
from typing import Final

# RFC 5321 §4.5.3.1 has 64 + 1 + 255 octets; quoting adds a little.
MAX_ADDRESS_CHARS: Final = 330

# C0, space, <, >, DEL, C1 and the Unicode line ends: whatever could end or extend a command for any reader of it.
_UNSAFE = re.compile("[\x00-\x20<>\x7f-\x9f\u2028\u2029]")
_BARE_LF_DOT = re.compile(rb"(?<!\r)\n\.")


class EnvelopeRefused(ValueError):
    """The envelope or the content must not be written to a connection."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """One mail for one recipient; addresses without angle brackets, ``return_path`` empty for the null reverse-path.

    ``content`` is a signed RFC 5322 message with CRLF line ends, not dot-stuffed.

    Raises: EnvelopeRefused
    Source: RFC 5321 §2.3.1, §4.1.1.2, §4.1.1.3.
    """

    return_path: str
    recipient: str
    content: bytes

    def __post_init__(self) -> None:
        """Refuse addresses that could change the meaning of a command.

        Raises: EnvelopeRefused
        """
        for name, address in (("return path", self.return_path), ("recipient", self.recipient)):
            if _UNSAFE.search(address) or len(address) > MAX_ADDRESS_CHARS:
                raise EnvelopeRefused(f"the {name} has characters that no command may carry, or too many")
        if "@" not in self.recipient:
            raise EnvelopeRefused("the recipient has no domain")

    @property
    def needs_smtputf8(self) -> bool:
        """True if an address has non-ASCII characters (RFC 6531 §3.2)."""
        return not (self.recipient.isascii() and self.return_path.isascii())


def wire_content(content: bytes) -> bytes:
    """Give the content as it follows 354, without the final dot: dot-stuffed where needed, ending in CRLF.

    Raises: EnvelopeRefused for a dot that begins a line after a bare LF, which servers read in two ways.
    Source: RFC 5321 §4.5.2 (transparency), §2.3.8 (line ends).
    """
    if b"\n." in content:
        if _BARE_LF_DOT.search(content):
            raise EnvelopeRefused("the content has a bare line feed before a dot")
        content = content.replace(b"\r\n.", b"\r\n..")
    if content.startswith(b"."):
        content = b"." + content
    return content if content.endswith(b"\r\n") else content + b"\r\n"
